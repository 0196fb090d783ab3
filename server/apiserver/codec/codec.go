// Package codec turns API objects into bytes and back: JSON, YAML and Kubernetes' protobuf envelope, for single
// objects, lists and watch events.
//
// Objects in memory have no TypeMeta; the encoders write apiVersion and kind of the served version without touching the
// object. Items of lists of built-in kinds have none, as upstream sends them. It starts no goroutine and keeps no state.
package codec

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// Format is a serialization.
type Format uint8

// The formats that are spoken, in the order in which errors list them.
const (
	JSON Format = iota
	YAML
	Protobuf
)

// Accepted are the media types of the formats.
var Accepted = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}

// MediaType of the format.
func (f Format) MediaType() string { return Accepted[f] }

// FormatOf finds the format of a media type.
func FormatOf(mediaType string) (Format, bool) {
	for i, m := range Accepted {
		if m == mediaType {
			return Format(i), true
		}
	}
	return 0, false
}

// NotEncodableError says that an object has no form in the format asked for.
type NotEncodableError struct {
	GVK    schema.GroupVersionKind
	Format Format
}

func (e *NotEncodableError) Error() string {
	return fmt.Sprintf("object of kind %s does not support %s", e.GVK.Kind, e.Format.MediaType())
}

// Append appends obj, as the given kind, to buf.
func Append(buf []byte, f Format, gvk schema.GroupVersionKind, obj runtime.Object) ([]byte, error) {
	switch f {
	case Protobuf:
		return appendEnvelope(buf, gvk, obj)
	case YAML:
		data, err := appendJSON(nil, gvk, obj)
		if err != nil {
			return nil, err
		}
		return appendYAML(buf, data)
	}
	return appendJSON(buf, gvk, obj)
}

func appendYAML(buf, data []byte) ([]byte, error) {
	out, err := yaml.JSONToYAML(data)
	if err != nil {
		return nil, err
	}
	return append(buf, out...), nil
}

// appendJSON writes {"kind":…,"apiVersion":…, and the object's own fields.
func appendJSON(buf []byte, gvk schema.GroupVersionKind, obj runtime.Object) ([]byte, error) {
	if _, custom := obj.(runtime.Unstructured); custom || obj.GetObjectKind().GroupVersionKind().Kind != "" {
		return appendValue(buf, obj)
	}
	buf = appendTypeMeta(buf, gvk)
	start := len(buf)
	buf, err := appendValue(buf, obj)
	if err != nil {
		return nil, err
	}
	return joinBraces(buf, start), nil
}

// appendTypeMeta begins an object: {"kind":"Pod","apiVersion":"v1"
func appendTypeMeta(buf []byte, gvk schema.GroupVersionKind) []byte {
	buf = append(buf, `{"kind":"`...)
	buf = append(buf, gvk.Kind...)
	buf = append(buf, `","apiVersion":"`...)
	if gvk.Group != "" {
		buf = append(buf, gvk.Group...)
		buf = append(buf, '/')
	}
	buf = append(buf, gvk.Version...)
	return append(buf, '"')
}

// joinBraces makes one object of `{"kind":…` followed at start by `{…}`.
func joinBraces(buf []byte, start int) []byte {
	if len(buf)-start == 2 { // {}
		return append(buf[:start], '}')
	}
	buf[start] = ','
	return buf
}

// List is a list to encode: its kind, its metadata and its items, which are asked for one by one.
type List struct {
	GVK  schema.GroupVersionKind
	Meta metav1.ListMeta
	Len  int
	Item func(i int) (runtime.Object, error)
	// Flush, when set, is given what has been encoded each time there is a good piece of it, so that a long list never
	// is in memory as a whole; it returns the emptied buffer. YAML does not use it.
	Flush func(buf []byte) ([]byte, error)
	// ItemGVK is written into the items when set (lists whose items may be of several kinds, and custom kinds).
	ItemGVK schema.GroupVersionKind
	// Kept, when set, knows the encodings of items from earlier lists of the same form.
	Kept Kept
}

// Kept keeps the encodings of items. Its bytes are never changed.
type Kept interface {
	Get(item runtime.Object) (encoded []byte, ok bool)
	// Put is told of an encoding, whose bytes are valid only during the call.
	Put(item runtime.Object, encoded []byte)
}

// get returns what is kept of an item; nil if nothing is.
func (l *List) get(item runtime.Object) []byte {
	if l.Kept == nil {
		return nil
	}
	encoded, _ := l.Kept.Get(item)
	return encoded
}

func (l *List) put(item runtime.Object, encoded []byte) {
	if l.Kept != nil {
		l.Kept.Put(item, encoded)
	}
}

// flushFrom is how much is encoded before it is flushed.
const flushFrom = 192 << 10

func (l *List) flush(buf []byte) ([]byte, error) {
	if l.Flush == nil || len(buf) < flushFrom {
		return buf, nil
	}
	return l.Flush(buf)
}

// AppendList appends a list to buf. The items never are together in one Go slice of structs.
func AppendList(buf []byte, f Format, l *List) ([]byte, error) {
	switch f {
	case Protobuf:
		return appendListEnvelope(buf, l)
	case YAML:
		whole := *l
		whole.Flush = nil
		data, err := appendListJSON(nil, &whole)
		if err != nil {
			return nil, err
		}
		return appendYAML(buf, data)
	}
	return appendListJSON(buf, l)
}

func appendListJSON(buf []byte, l *List) ([]byte, error) {
	buf = appendTypeMeta(buf, l.GVK)
	buf = append(buf, `,"metadata":`...)
	buf, err := appendValue(buf, &l.Meta)
	if err != nil {
		return nil, err
	}
	buf = append(buf, `,"items":[`...)
	for i := range l.Len {
		if i > 0 {
			buf = append(buf, ',')
		}
		obj, err := l.Item(i)
		if err != nil {
			return nil, err
		}
		if buf, err = l.appendItem(buf, obj); err == nil {
			buf, err = l.flush(buf)
		}
		if err != nil {
			return nil, fmt.Errorf("encode item %d of %s: %w", i, l.GVK.Kind, err)
		}
	}
	return append(buf, "]}"...), nil
}

// appendItem appends one item in JSON.
func (l *List) appendItem(buf []byte, obj runtime.Object) (_ []byte, err error) {
	if kept := l.get(obj); kept != nil {
		return append(buf, kept...), nil
	}
	start := len(buf)
	if l.ItemGVK.Kind != "" {
		buf, err = appendJSON(buf, l.ItemGVK, obj)
	} else {
		buf, err = appendValue(buf, obj)
	}
	if err == nil {
		l.put(obj, buf[start:])
	}
	return buf, err
}

// AppendEvent appends one watch event whose object is already encoded in the same format: a line of JSON, or a
// length-prefixed protobuf frame. YAML has no streams; JSON is used.
func AppendEvent(buf []byte, f Format, eventType string, object []byte) []byte {
	if f == Protobuf {
		return appendEventFrame(buf, eventType, object)
	}
	buf = append(buf, `{"type":`...)
	buf = strconv.AppendQuote(buf, eventType)
	buf = append(buf, `,"object":`...)
	buf = append(buf, object...)
	return append(buf, '}', '\n')
}

// CutEvent splits the first event off a batch made by AppendEvent, without its framing.
func CutEvent(f Format, batch []byte) (event, rest []byte) {
	if f == Protobuf {
		n := 4 + int(binary.BigEndian.Uint32(batch))
		return batch[4:n], batch[n:]
	}
	event, rest, _ = bytes.Cut(batch, []byte{'\n'})
	return event, rest
}
