package codec

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// What types that say themselves how they look in JSON would say.

// encodeTime is what metav1.Time.MarshalJSON does.
func encodeTime(buf []byte, p unsafe.Pointer) ([]byte, error) {
	t := (*metav1.Time)(p)
	if t.IsZero() {
		return append(buf, "null"...), nil
	}
	buf = append(buf, '"')
	buf = t.UTC().AppendFormat(buf, time.RFC3339)
	return append(buf, '"'), nil
}

// encodeQuantity is what resource.Quantity.MarshalJSON does.
func encodeQuantity(buf []byte, p unsafe.Pointer) ([]byte, error) {
	buf = append(buf, '"')
	number, suffix := (*resource.Quantity)(p).CanonicalizeBytes(buf[len(buf):])
	buf = append(append(buf, number...), suffix...)
	return append(buf, '"'), nil
}

var encodeOtherIntOrString = marshaled(intOrString)

// encodeIntOrString is what intstr.IntOrString.MarshalJSON does.
func encodeIntOrString(buf []byte, p unsafe.Pointer) ([]byte, error) {
	switch v := (*intstr.IntOrString)(p); v.Type {
	case intstr.Int:
		return strconv.AppendInt(buf, int64(v.IntVal), 10), nil
	case intstr.String:
		return appendString(buf, v.StrVal), nil
	}
	return encodeOtherIntOrString(buf, p)
}

// encodeRaw writes an object that is held as a Go value directly (the rows of tables), and checks raw bytes.
func encodeRaw(buf []byte, p unsafe.Pointer) ([]byte, error) {
	if raw := (*runtime.RawExtension)(p); raw.Raw == nil && raw.Object != nil {
		return appendValue(buf, raw.Object)
	}
	return encodeRawBytes(buf, p)
}

var encodeRawBytes = marshaled(rawExtension)

// marshaled calls MarshalJSON and writes the result as encoding/json does: compact, and safe within HTML.
func marshaled(t reflect.Type) encoder {
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		data, err := reflect.NewAt(t, p).Interface().(json.Marshaler).MarshalJSON()
		if err != nil {
			return nil, &json.MarshalerError{Type: t, Err: err}
		}
		if plain(data) || t == fieldsV1 && fieldSet(data) {
			return append(buf, data...), nil
		}
		var compact, escaped bytes.Buffer
		if err := json.Compact(&compact, data); err != nil {
			return nil, &json.MarshalerError{Type: t, Err: err}
		}
		json.HTMLEscape(&escaped, compact.Bytes())
		return append(buf, escaped.Bytes()...), nil
	}
}

// plain: one short string or number of letters, digits and a few signs, which needs no look by a JSON parser.
func plain(data []byte) bool {
	if len(data) > 2 && data[0] == '"' && data[len(data)-1] == '"' {
		for _, c := range data[1 : len(data)-1] {
			if !safe[c] {
				return false
			}
		}
		return true
	}
	return string(data) == "null"
}

// fieldSet: a set of fields as field managers write it, objects in objects with short names and nothing else, without white space or what
// needs escaping. Such is nearly every one, and there are several in every object, so they are not given to a JSON parser.
func fieldSet(data []byte) bool {
	const (
		begin = iota // at the start, or after a colon: an object
		first        // after {: a name, or the end
		next         // after an object: a comma, or the end of the one around it
	)
	state, depth := begin, 0
	for i := 0; i < len(data); i++ {
		c := data[i]
		switch {
		case state == begin && c == '{':
			state, depth = first, depth+1
		case state != begin && c == '}' && depth > 0:
			state, depth = next, depth-1
		case state == first && c == '"', state == next && c == ',' && depth > 0 && i+1 < len(data) && data[i+1] == '"':
			if c == ',' {
				i++
			}
			end := name(data, i+1)
			if end < 0 || end+1 >= len(data) || data[end+1] != ':' {
				return false
			}
			state, i = begin, end+1
		default:
			return false
		}
	}
	return state == next && depth == 0
}

// name returns where the string that begins at i ends; -1 when it has no end or anything unusual in it. A backslash is usual before a quote:
// names hold the keys of list items in JSON.
func name(data []byte, i int) int {
	for ; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			return i
		case c == '\\' && i+1 < len(data) && (data[i+1] == '"' || data[i+1] == '\\'):
			i++
		case c == '\\' || c == ' ' || !safe[c]:
			return -1
		}
	}
	return -1
}

// encodeResources is for the requests and limits in every pod.
func encodeResources(buf []byte, p unsafe.Pointer) ([]byte, error) {
	m := *(*corev1.ResourceList)(p)
	if m == nil {
		return append(buf, "null"...), nil
	}
	var few [8]corev1.ResourceName
	names := few[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	buf = append(buf, '{')
	for i, name := range names {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = appendString(buf, string(name))
		buf = append(buf, ':')
		amount := m[name]
		buf, _ = encodeQuantity(buf, unsafe.Pointer(&amount))
	}
	return append(buf, '}'), nil
}
