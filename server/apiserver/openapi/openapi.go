package openapi

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/discovery"
	"codeberg.org/skiff/skiff/server/apiserver/negotiate"
)

// idle is how long what was made is kept after somebody asked for it.
const idle = 10 * time.Minute

// Documents of a catalogue, and those of other servers.
type Documents struct {
	catalogue *api.Catalogue
	version   string
	build     string

	mu    sync.Mutex
	kinds []*api.Kind
	// cache holds finished documents by path and format; it is emptied when the catalogue or a foreign document changes.
	cache map[string]document
	// base is v2 without custom kinds, which does not change.
	base    *base
	hashes  map[schema.GroupVersion]string
	foreign map[string]Foreign
	forget  *time.Timer
}

// Foreign are the documents of another server, whose group versions appear among ours (an APIService's).
type Foreign struct {
	// V2 is its whole v2 document in JSON; nil if it has none.
	V2 []byte
	// V3 are its documents in JSON by their path in the index, e.g. apis/metrics.k8s.io/v1beta1.
	V3 map[string][]byte
}

// SetForeign puts the documents of the server called name beside ours, in place of what it had before; without any
// documents it takes them away.
func (d *Documents) SetForeign(name string, f Foreign) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cache = nil
	if f.V2 == nil && len(f.V3) == 0 {
		delete(d.foreign, name)
		return
	}
	if d.foreign == nil {
		d.foreign = map[string]Foreign{}
	}
	d.foreign[name] = f
}

// New makes nothing yet. version is the server's.
func New(c *api.Catalogue, version string) *Documents {
	d := &Documents{catalogue: c, version: version, build: version}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" || s.Key == "vcs.time" {
				d.build += " " + s.Value
			}
		}
	}
	return d
}

const (
	// The types asked for have an @, which Go's mime package refuses; the ones answered have a dot, as upstream's.
	protobufTypeV2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	protobufTypeV3 = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
	jsonType       = "application/json"
)

// ErrNotAcceptable: the client takes neither JSON nor protobuf.
var ErrNotAcceptable = errors.New("only JSON and protobuf are offered")

const (
	pathV2 = "/openapi/v2"
	pathV3 = "/openapi/v3"
)

// Get returns the document at /openapi/v2, /openapi/v3 or /openapi/v3/(api|apis/group)/version, or nothing.
func (d *Documents) Get(path string, r *http.Request) (discovery.Document, bool, error) {
	protobuf, ok := wantsProtobuf(r, path)
	if !ok {
		return discovery.Document{}, false, ErrNotAcceptable
	}
	key := path
	if protobuf {
		key += " protobuf"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh()
	doc, ok := d.cache[key]
	if !ok {
		var err error
		if doc, ok, err = d.make(path, protobuf); err != nil || !ok {
			return discovery.Document{}, false, err
		}
		d.cache[key] = doc
	}
	return doc.open(r)
}

// refresh forgets what the catalogue has overtaken, and what nobody asked for in a while.
func (d *Documents) refresh() {
	if kinds := d.catalogue.Published(); d.cache == nil || !slices.Equal(kinds, d.kinds) {
		if !slices.Equal(builtIn(kinds), builtIn(d.kinds)) {
			d.base = nil
		}
		d.kinds, d.cache, d.hashes = kinds, map[string]document{}, map[schema.GroupVersion]string{}
	}
	if d.forget == nil {
		d.forget = time.AfterFunc(idle, d.drop)
	} else {
		d.forget.Reset(idle)
	}
}

func (d *Documents) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cache, d.base = nil, nil
}

func builtIn(kinds []*api.Kind) (out []*api.Kind) {
	for _, k := range kinds {
		if !isCustom(k) {
			out = append(out, k)
		}
	}
	return out
}

// wantsProtobuf reads the Accept header; ok is false when it takes nothing that there is.
func wantsProtobuf(r *http.Request, path string) (protobuf, ok bool) {
	spec := "application/com.github.proto-openapi.spec.v3"
	if path == pathV2 {
		spec = "application/com.github.proto-openapi.spec.v2"
	}
	for _, c := range negotiate.Accept(r) {
		switch {
		case c.Is(jsonType):
			return false, true
		case strings.HasPrefix(c.Type+"/"+c.Sub, spec) && path != pathV3:
			return true, true
		}
	}
	return false, false
}

func (d *Documents) make(path string, protobuf bool) (document, bool, error) {
	switch {
	case path == pathV3:
		body, err := json.Marshal(d.index())
		if err != nil {
			return document{}, false, err
		}
		return pack(body, jsonType, hash(body))
	case path == pathV2:
		return d.makeV2(protobuf)
	}
	path = strings.TrimPrefix(path, pathV3+"/")
	body, err := d.bodyV3(path)
	if err != nil || body == nil {
		return document{}, false, err
	}
	etag, mediaType := d.etagOf(path), jsonType
	if protobuf {
		if body, err = protobufV3(body); err != nil {
			return document{}, false, err
		}
		mediaType = protobufTypeV3
	}
	return pack(body, mediaType, etag)
}

func (d *Documents) bodyV3(path string) ([]byte, error) {
	if body := d.foreignV3(path); body != nil {
		return body, nil
	}
	doc := d.v3(path)
	if doc == nil {
		return nil, nil
	}
	return json.Marshal(doc)
}

func (d *Documents) foreignV3(path string) []byte {
	for _, f := range d.foreign {
		if body := f.V3[path]; body != nil {
			return body
		}
	}
	return nil
}

func groupVersionOf(path string) (gv schema.GroupVersion, ok bool) {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) == 2 && parts[0] == "api":
		return schema.GroupVersion{Version: parts[1]}, true
	case len(parts) == 3 && parts[0] == "apis":
		return schema.GroupVersion{Group: parts[1], Version: parts[2]}, true
	}
	return gv, false
}

func pathOf(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.Group + "/" + gv.Version
}

func trimGroup(group string) string { return strings.TrimSuffix(group, ".k8s.io") }

// paths of the index.
func (d *Documents) paths() []string {
	var out []string
	for path := range rootDocuments() {
		out = append(out, path)
	}
	for _, gv := range groupVersions(d.kinds) {
		out = append(out, pathOf(gv))
		if gv.Group != "" && !slices.Contains(out, "apis/"+gv.Group) {
			out = append(out, "apis/"+gv.Group)
		}
	}
	for _, f := range d.foreign {
		for path := range f.V3 {
			if !slices.Contains(out, path) {
				out = append(out, path)
			}
		}
	}
	return out
}

// index lists the documents. Its hashes change when a document does, and are known without making it.
func (d *Documents) index() map[string]any {
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := map[string]entry{}
	for _, path := range d.paths() {
		paths[path] = entry{pathV3 + "/" + path + "?hash=" + d.etagOf(path)}
	}
	return map[string]any{"paths": paths}
}

func groupVersions(kinds []*api.Kind) (out []schema.GroupVersion) {
	for _, k := range kinds {
		for i := range k.Versions {
			v := &k.Versions[i]
			if gv := (schema.GroupVersion{Group: v.Group, Version: v.Version}); !v.Unserved && !slices.Contains(out, gv) {
				out = append(out, gv)
			}
		}
	}
	return out
}

// etagOf names the content of a document: the program that makes it, and the kinds that it is made of.
func (d *Documents) etagOf(path string) string {
	if body := d.foreignV3(path); body != nil {
		return hash(body)
	}
	gv, ok := groupVersionOf(path)
	if !ok {
		return hash([]byte(d.build + " " + path))
	}
	if have, ok := d.hashes[gv]; ok {
		return have
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, d.build, gv)
	for _, k := range d.kinds {
		for i := range k.Versions {
			v := &k.Versions[i]
			if v.Group != gv.Group || v.Version != gv.Version || v.Unserved {
				continue
			}
			fmt.Fprintf(&b, "%s %s %v %v", k.Kind, k.Plural, k.Namespaced, k.Verbs)
			for _, s := range k.SubresourcesOf(v) {
				fmt.Fprintf(&b, " %s%v", s.Name, s.Verbs)
			}
			if v.Schema != nil {
				text, _ := json.Marshal(v.Schema())
				b.Write(text)
			}
			b.WriteByte('\n')
		}
	}
	d.hashes[gv] = hash(b.Bytes())
	return d.hashes[gv]
}

func hash(data []byte) string {
	sum := sha512.Sum512(data)
	return fmt.Sprintf("%X", sum[:32])
}
