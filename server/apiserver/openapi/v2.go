package openapi

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// base is v2 of the built-in kinds, compressed. Custom kinds come and go; their part is put beside it, for making the whole
// again costs half a second.
type base struct {
	definitions, paths, rest []byte // the inside of each JSON object
	names                    map[string]bool
	protobuf                 []byte
}

func (d *Documents) makeBase() (*base, error) {
	doc := d.v2BuiltIn()
	b := &base{names: map[string]bool{}}
	definitions, paths := doc["definitions"].(map[string]object), doc["paths"].(object)
	for name := range definitions {
		b.names[name] = true
	}
	delete(doc, "definitions")
	delete(doc, "paths")
	for _, part := range []struct {
		to   *[]byte
		from any
	}{{&b.definitions, definitions}, {&b.paths, paths}, {&b.rest, doc}} {
		text, err := json.Marshal(part.from)
		if err != nil {
			return nil, err
		}
		if *part.to, err = deflate(text[1 : len(text)-1]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// overlay is what stands beside the base: our custom kinds, and other servers' kinds.
type overlay struct {
	Definitions map[string]json.RawMessage `json:"definitions"`
	Paths       map[string]json.RawMessage `json:"paths"`
}

func (d *Documents) overlay(known map[string]bool) (overlay, error) {
	all := overlay{map[string]json.RawMessage{}, map[string]json.RawMessage{}}
	var docs [][]byte
	if own := d.v2Custom(); own != nil {
		text, err := json.Marshal(own)
		if err != nil {
			return all, err
		}
		docs = append(docs, text)
	}
	for _, name := range slices.Sorted(maps.Keys(d.foreign)) {
		if text := d.foreign[name].V2; text != nil {
			docs = append(docs, text)
		}
	}
	for _, text := range docs {
		var one overlay
		if err := json.Unmarshal(text, &one); err != nil {
			continue // another server's rubbish must not take our own document away
		}
		for name, def := range one.Definitions {
			if !known[name] {
				all.Definitions[name] = def
			}
		}
		for path, item := range one.Paths {
			if _, have := all.Paths[path]; !have {
				all.Paths[path] = item
			}
		}
	}
	return all, nil
}

func (d *Documents) makeV2(protobuf bool) (document, bool, error) {
	if d.base == nil {
		made, err := d.makeBase()
		if err != nil {
			return document{}, false, err
		}
		d.base = made
	}
	over, err := d.overlay(d.base.names)
	if err != nil {
		return document{}, false, err
	}
	if protobuf {
		return d.v2Protobuf(over)
	}
	body, err := d.base.with(over)
	if err != nil {
		return document{}, false, err
	}
	return pack(body, jsonType, hash(body))
}

// with joins the base and what stands beside it.
func (b *base) with(over overlay) ([]byte, error) {
	var out bytes.Buffer
	sections := []struct {
		open string
		from []byte
		more map[string]json.RawMessage
	}{{"{", b.rest, nil}, {`,"definitions":{`, b.definitions, over.Definitions}, {`},"paths":{`, b.paths, over.Paths}}
	for _, s := range sections {
		out.WriteString(s.open)
		text, err := inflate(s.from)
		if err != nil {
			return nil, err
		}
		out.Write(text)
		if len(s.more) > 0 {
			more, err := json.Marshal(s.more)
			if err != nil {
				return nil, err
			}
			out.WriteByte(',')
			out.Write(more[1 : len(more)-1])
		}
	}
	out.WriteString("}}")
	return out.Bytes(), nil
}

// v2Protobuf joins two encoded messages, which protobuf reads as one: the fields of the second add to the first's.
func (d *Documents) v2Protobuf(over overlay) (document, bool, error) {
	if d.base.protobuf == nil {
		text, err := d.base.with(overlay{})
		if err != nil {
			return document{}, false, err
		}
		data, err := protobufV2(text)
		if err != nil {
			return document{}, false, err
		}
		if d.base.protobuf, err = deflate(data); err != nil {
			return document{}, false, err
		}
	}
	body, err := inflate(d.base.protobuf)
	if err != nil {
		return document{}, false, err
	}
	if len(over.Definitions)+len(over.Paths) > 0 {
		text, err := json.Marshal(object{"swagger": "2.0", "info": d.info(), "definitions": over.Definitions, "paths": over.Paths})
		if err != nil {
			return document{}, false, err
		}
		more, err := protobufV2(text)
		if err != nil {
			return document{}, false, err
		}
		body = append(body, more...)
	}
	return pack(body, protobufTypeV2, hash(body))
}
