package codec

import (
	"reflect"
	"strings"
	"unsafe"
)

// structField is one member of a JSON object.
type structField struct {
	// name with quotes and colon.
	name   string
	offset uintptr
	encode encoder
	// omit says that the value at p is left out; nil never.
	omit func(p unsafe.Pointer) bool
}

func structure(t reflect.Type) encoder {
	fields, ok := collect(t, 0)
	if !ok {
		return standard(t)
	}
	return func(buf []byte, p unsafe.Pointer) ([]byte, error) {
		buf = append(buf, '{')
		first := true
		var err error
		for i := range fields {
			f := &fields[i]
			at := unsafe.Add(p, f.offset)
			if f.omit != nil && f.omit(at) {
				continue
			}
			if !first {
				buf = append(buf, ',')
			}
			first = false
			buf = append(buf, f.name...)
			if buf, err = f.encode(buf, at); err != nil {
				return nil, err
			}
		}
		return append(buf, '}'), nil
	}
}

// collect lists the members, those of embedded structs in their place. ok is false when the rules of encoding/json for
// this struct are more than these.
func collect(t reflect.Type, base uintptr) (fields []structField, ok bool) {
	seen := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		if tag == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if f.Anonymous && name == "" {
			if f.Type.Kind() != reflect.Struct || !f.IsExported() {
				return nil, false
			}
			inner, ok := collect(f.Type, base+f.Offset)
			if !ok {
				return nil, false
			}
			fields = append(fields, inner...)
			continue
		}
		if name == "" {
			name = f.Name
		}
		one, ok := member(f, name, options, base)
		if !ok {
			return nil, false
		}
		fields = append(fields, one)
	}
	for i := range fields {
		if seen[fields[i].name] {
			return nil, false
		}
		seen[fields[i].name] = true
	}
	return fields, true
}

func member(f reflect.StructField, name, options string, base uintptr) (structField, bool) {
	out := structField{name: string(appendString(nil, name)) + ":", offset: base + f.Offset}
	var omits []func(unsafe.Pointer) bool
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "string":
			return out, false
		case "omitempty":
			omits = append(omits, empty(f.Type))
		case "omitzero":
			omits = append(omits, zero(f.Type))
		}
	}
	switch len(omits) {
	case 1:
		out.omit = omits[0]
	case 2:
		out.omit = func(p unsafe.Pointer) bool { return omits[0](p) || omits[1](p) }
	}
	out.encode = encoderOf(f.Type)
	return out, true
}

// empty is what omitempty leaves out.
func empty(t reflect.Type) func(unsafe.Pointer) bool {
	switch t.Kind() {
	case reflect.Pointer:
		return func(p unsafe.Pointer) bool { return *(*unsafe.Pointer)(p) == nil }
	case reflect.String:
		return func(p unsafe.Pointer) bool { return len(*(*string)(p)) == 0 }
	case reflect.Slice:
		return func(p unsafe.Pointer) bool { return (*header)(p).len == 0 }
	case reflect.Bool:
		return func(p unsafe.Pointer) bool { return !*(*bool)(p) }
	case reflect.Int32:
		return func(p unsafe.Pointer) bool { return *(*int32)(p) == 0 }
	case reflect.Int64:
		return func(p unsafe.Pointer) bool { return *(*int64)(p) == 0 }
	case reflect.Struct:
		return func(unsafe.Pointer) bool { return false }
	case reflect.Map, reflect.Array:
		return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().Len() == 0 }
	}
	return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().IsZero() }
}

type zeroer interface{ IsZero() bool }

// zero is what omitzero leaves out: what says itself that it is zero, else Go's zero value.
func zero(t reflect.Type) func(unsafe.Pointer) bool {
	if t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(reflect.TypeFor[zeroer]()) {
		if t.Kind() == reflect.Pointer {
			return func(p unsafe.Pointer) bool {
				v := reflect.NewAt(t, p).Elem()
				return v.IsNil() || v.Interface().(zeroer).IsZero()
			}
		}
		return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Interface().(zeroer).IsZero() }
	}
	return func(p unsafe.Pointer) bool { return reflect.NewAt(t, p).Elem().IsZero() }
}
