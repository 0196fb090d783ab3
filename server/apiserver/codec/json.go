package codec

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
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
	quantity      = reflect.TypeFor[resource.Quantity]()
	intOrString   = reflect.TypeFor[intstr.IntOrString]()
	resourceList  = reflect.TypeFor[corev1.ResourceList]()
)

func compile(t reflect.Type) encoder {
	switch {
	case t == metaTime:
		return encodeTime
	case t == rawExtension:
		return encodeRaw
	case t == quantity:
		return encodeQuantity
	case t == intOrString:
		return encodeIntOrString
	case t.Kind() == reflect.Pointer:
		return pointer(t)
	case t.Implements(marshaler) || reflect.PointerTo(t).Implements(marshaler):
		return marshaled(t)
	case t.Implements(textMarshaler) || reflect.PointerTo(t).Implements(textMarshaler):
		return standard(t)
	}
	if plainString(t) {
		return func(buf []byte, p unsafe.Pointer) ([]byte, error) { return appendString(buf, *(*string)(p)), nil }
	}
	switch t.Kind() {
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

// plainString: a string that nobody gave a JSON form of its own.
func plainString(t reflect.Type) bool {
	return t.Kind() == reflect.String && !reflect.PointerTo(t).Implements(marshaler) && !reflect.PointerTo(t).Implements(textMarshaler)
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
	switch t {
	case reflect.TypeFor[map[string]string]():
		return encodeStringMap
	case resourceList:
		return encodeResources
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
