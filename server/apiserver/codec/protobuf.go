package codec

import (
	"encoding/binary"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The envelope is the magic bytes, then a message with typeMeta (1), raw (2), contentEncoding (3) and contentType (4).
// https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
const magic = "k8s\x00"

// message is what the generated types implement; it writes backwards from the end of the buffer.
type message interface {
	Size() int
	MarshalToSizedBuffer([]byte) (int, error)
}

func protoMessage(gvk schema.GroupVersionKind, obj any) (message, error) {
	m, ok := obj.(message)
	if !ok {
		return nil, &NotEncodableError{GVK: gvk, Format: Protobuf}
	}
	return m, nil
}

func appendEnvelope(buf []byte, gvk schema.GroupVersionKind, obj runtime.Object) ([]byte, error) {
	if have := obj.GetObjectKind().GroupVersionKind(); have.Kind != "" {
		gvk = have
	}
	m, err := protoMessage(gvk, obj)
	if err != nil {
		return nil, err
	}
	buf = appendHeader(buf, gvk)
	size := m.Size()
	buf = appendTag(buf, 2, size)
	if buf, err = appendMessage(buf, m, size); err != nil {
		return nil, err
	}
	return appendTrailer(buf), nil
}

// appendHeader writes the magic and typeMeta.
func appendHeader(buf []byte, gvk schema.GroupVersionKind) []byte {
	version := gvk.GroupVersion().String()
	buf = append(buf, magic...)
	buf = appendTag(buf, 1, sizeField(len(version))+sizeField(len(gvk.Kind)))
	buf = appendTag(buf, 1, len(version))
	buf = append(buf, version...)
	buf = appendTag(buf, 2, len(gvk.Kind))
	return append(buf, gvk.Kind...)
}

// appendTrailer writes the empty contentEncoding and contentType.
func appendTrailer(buf []byte) []byte { return append(buf, 0x1a, 0, 0x22, 0) }

// appendTag begins a length-delimited field.
func appendTag(buf []byte, field, size int) []byte {
	buf = append(buf, byte(field<<3|2))
	return binary.AppendUvarint(buf, uint64(size))
}

func sizeField(n int) int { return 1 + sizeVarint(n) + n }

func sizeVarint(n int) int {
	size := 1
	for n >= 0x80 {
		n >>= 7
		size++
	}
	return size
}

func appendMessage(buf []byte, m message, size int) ([]byte, error) {
	start := len(buf)
	buf = grow(buf, size)
	n, err := m.MarshalToSizedBuffer(buf[start:])
	if err != nil {
		return nil, err
	}
	if n != size {
		return nil, fmt.Errorf("protobuf of %T: %d bytes written, %d announced", m, n, size)
	}
	return buf, nil
}

// grow extends buf by n bytes, whose contents are undefined.
func grow(buf []byte, n int) []byte {
	if need := len(buf) + n; need <= cap(buf) {
		return buf[:need]
	}
	bigger := make([]byte, len(buf)+n, len(buf)+n+(len(buf)+n)/4)
	copy(bigger, buf)
	return bigger
}

// listItem is an item whose size is known: as a message, or as the bytes that were kept of it.
type listItem struct {
	obj  runtime.Object
	m    message
	kept []byte
	size int
}

func (l *List) protoItem(i int) (item listItem, err error) {
	if item.obj, err = l.Item(i); err != nil {
		return item, err
	}
	if item.kept = l.get(item.obj); item.kept != nil {
		item.size = len(item.kept)
		return item, nil
	}
	if item.m, err = protoMessage(l.GVK, item.obj); err == nil {
		item.size = item.m.Size()
	}
	return item, err
}

func (l *List) appendProtoItem(buf []byte, item *listItem) (_ []byte, err error) {
	if item.kept != nil {
		return append(buf, item.kept...), nil
	}
	start := len(buf)
	if buf, err = appendMessage(buf, item.m, item.size); err == nil {
		l.put(item.obj, buf[start:])
	}
	return buf, err
}

// appendListEnvelope writes a list: all list types are ListMeta (1) and repeated items (2).
func appendListEnvelope(buf []byte, l *List) ([]byte, error) {
	items := make([]listItem, l.Len)
	meta := l.Meta.Size()
	raw := sizeField(meta)
	for i := range items {
		var err error
		if items[i], err = l.protoItem(i); err != nil {
			return nil, err
		}
		raw += sizeField(items[i].size)
	}
	if need := len(buf) + raw + 128; need > cap(buf) && (l.Flush == nil || need <= flushFrom) {
		buf = append(make([]byte, 0, need), buf...)
	}
	buf = appendHeader(buf, l.GVK)
	buf = appendTag(buf, 2, raw)
	buf = appendTag(buf, 1, meta)
	buf, err := appendMessage(buf, &l.Meta, meta)
	for i := 0; i < len(items) && err == nil; i++ {
		buf = appendTag(buf, 2, items[i].size)
		if buf, err = l.appendProtoItem(buf, &items[i]); err == nil {
			buf, err = l.flush(buf)
		}
	}
	if err != nil {
		return nil, err
	}
	return appendTrailer(buf), nil
}

// appendEventFrame writes a big-endian length and a WatchEvent: type (1), object (2) as a RawExtension with raw (1).
func appendEventFrame(buf []byte, eventType string, object []byte) []byte {
	inner := sizeField(len(object))
	buf = binary.BigEndian.AppendUint32(buf, uint32(sizeField(len(eventType))+sizeField(inner)))
	buf = appendTag(buf, 1, len(eventType))
	buf = append(buf, eventType...)
	buf = appendTag(buf, 2, inner)
	buf = appendTag(buf, 1, len(object))
	return append(buf, object...)
}
