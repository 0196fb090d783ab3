package codec

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// The JSON encoder is compiled once for each Go type: a tree of funcs over field offsets, which writes what
// encoding/json writes, byte for byte (a fuzz test compares them), at about a third of its time. A type with something
// in it that this does not know is left to encoding/json.

// encoder appends the value at p.
type encoder func(buf []byte, p unsafe.Pointer) ([]byte, error)

var encoders sync.Map // reflect.Type → encoder

// appendValue appends v, a pointer to a struct or anything else, as JSON.
func appendValue(buf []byte, v any) ([]byte, error) {
	if u, ok := v.(*unstructured.Unstructured); ok {
		return appendTree(buf, u.Object)
	}
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() || rv.Elem().Kind() != reflect.Struct {
		return appendStandard(buf, v)
	}
	return encoderOf(rv.Type().Elem())(buf, rv.UnsafePointer())
}

func appendStandard(buf []byte, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(buf, data...), nil
}

// encoderOf finds or compiles the encoder of a type. A type that contains itself finds a func that waits for the rest.
func encoderOf(t reflect.Type) encoder {
	if have, ok := encoders.Load(t); ok {
		return have.(encoder)
	}
	var (
		once sync.Once
		real encoder
	)
	ready := make(chan struct{})
	have, taken := encoders.LoadOrStore(t, encoder(func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		<-ready
		return real(buf, p)
	}))
	if taken {
		return have.(encoder)
	}
	once.Do(func() {
		real = compile(t)
		close(ready)
	})
	encoders.Store(t, real)
	return real
}

var (
	marshaler     = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	metaTime      = reflect.TypeFor[metav1.Time]()
	rawExtension  = reflect.TypeFor[runtime.RawExtension]()
	fieldsV1      = reflect.TypeFor[metav1.FieldsV1]()
)

func compile(t reflect.Type) encoder {
	switch {
	case t == metaTime:
		return encodeTime
	case t == rawExtension:
		return encodeRaw
	case t.Kind() == reflect.Pointer:
		return pointer(t)
	case t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler):
		return marshaled(t)
	case t.Implements(textMarshaler) || reflect.PointerTo(t).Implements(textMarshaler):
		return standard(t)
	}
	switch t.Kind() {
	case reflect.String:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) { return appendString(buf, *(*string)(p)), nil }
	case reflect.Bool:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) { return strconv.AppendBool(buf, *(*bool)(p)), nil }
	case reflect.Int32:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return strconv.AppendInt(buf, int64(*(*int32)(p)), 10), nil
		}
	case reflect.Int64:
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			return strconv.AppendInt(buf, *(*int64)(p), 10), nil
		}
	case reflect.Slice:
		return slice(t)
	case reflect.Map:
		return mapping(t)
	case reflect.Struct:
		return structure(t)
	case reflect.Interface:
		if t.NumMethod() == 0 {
			return encodeAny
		}
	}
	return standard(t)
}

// standard leaves a type to encoding/json.
func standard(t reflect.Type) encoder {
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		return appendStandard(buf, reflect.NewAt(t, p).Interface())
	}
}

// encodeAny is for the cells of tables.
func encodeAny(buf []byte, p unsafe.Pointer) ([]byte, error) {
	switch v := (*(*any)(p)).(type) {
	case nil:
		return append(buf, "null"...), nil
	case string:
		return appendString(buf, v), nil
	case int64:
		return strconv.AppendInt(buf, v, 10), nil
	case bool:
		return strconv.AppendBool(buf, v), nil
	default:
		return appendStandard(buf, v)
	}
}

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

func pointer(t reflect.Type) encoder {
	elem := encoderOf(t.Elem())
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		to := *(*unsafe.Pointer)(p)
		if to == nil {
			return append(buf, "null"...), nil
		}
		return elem(buf, to)
	}
}

// header is how a slice lies in memory.
type header struct {
	data     unsafe.Pointer
	len, cap int
}

func slice(t reflect.Type) encoder {
	if t.Elem().Kind() == reflect.Uint8 {
		if reflect.PointerTo(t.Elem()).Implements(marshaler) || reflect.PointerTo(t.Elem()).Implements(textMarshaler) {
			return standard(t)
		}
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
			data := *(*[]byte)(p)
			if data == nil {
				return append(buf, "null"...), nil
			}
			buf = append(buf, '"')
			buf = base64.StdEncoding.AppendEncode(buf, data)
			return append(buf, '"'), nil
		}
	}
	elem, size := encoderOf(t.Elem()), t.Elem().Size()
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		h := (*header)(p)
		if h.data == nil {
			return append(buf, "null"...), nil
		}
		buf = append(buf, '[')
		var err error
		for i := range h.len {
			if i > 0 {
				buf = append(buf, ',')
			}
			if buf, err = elem(buf, unsafe.Add(h.data, uintptr(i)*size)); err != nil {
				return nil, err
			}
		}
		return append(buf, ']'), nil
	}
}

func mapping(t reflect.Type) encoder {
	if t.Key().Kind() != reflect.String || t.Key().Implements(textMarshaler) {
		return standard(t)
	}
	if t == reflect.TypeFor[map[string]string]() {
		return encodeStringMap
	}
	elem := encoderOf(t.Elem())
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		m := reflect.NewAt(t, p).Elem()
		if m.IsNil() {
			return append(buf, "null"...), nil
		}
		type entry struct {
			key   string
			value reflect.Value
		}
		entries := make([]entry, 0, m.Len())
		values := reflect.MakeSlice(reflect.SliceOf(t.Elem()), m.Len(), m.Len()) // addressable copies
		for it := m.MapRange(); it.Next(); {
			value := values.Index(len(entries))
			value.SetIterValue(it)
			entries = append(entries, entry{it.Key().String(), value})
		}
		slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
		buf = append(buf, '{')
		var err error
		for i, e := range entries {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = appendString(buf, e.key)
			buf = append(buf, ':')
			if buf, err = elem(buf, e.value.Addr().UnsafePointer()); err != nil {
				return nil, err
			}
		}
		return append(buf, '}'), nil
	}
}

func encodeStringMap(buf []byte, p unsafe.Pointer) ([]byte, error) {
	m := *(*map[string]string)(p)
	if m == nil {
		return append(buf, "null"...), nil
	}
	var few [16]string
	keys := few[:0]
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	buf = append(buf, '{')
	for i, key := range keys {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = appendString(buf, key)
		buf = append(buf, ':')
		buf = appendString(buf, m[key])
	}
	return append(buf, '}'), nil
}

// safe bytes stand for themselves in a JSON string that may stand in HTML.
var safe = func() (table [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		table[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return table
}()

func appendString(buf []byte, s string) []byte {
	for i := range len(s) {
		if !safe[s[i]] {
			data, err := json.Marshal(s) // seldom
			if err != nil {
				return append(buf, `""`...)
			}
			return append(buf, data...)
		}
	}
	buf = append(buf, '"')
	buf = append(buf, s...)
	return append(buf, '"')
}
