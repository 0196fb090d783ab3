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
	// encode is nil for a string, which most members are: calls by a func value would be a good part of the time.
	encode encoder
	// The value is left out as leave says: by a number in it, at the offset told, or by what omit says of it.
	leave leave
	told  uintptr
	omit  func(p unsafe.Pointer) bool
}

// leave is how to see that a member is left out. Most members of most objects are.
type leave uint8

const (
	never    leave = iota
	zeroInt        // the pointer or the length is zero
	zeroHalf       // the int32 is
	zeroByte       // the bool is
	asked          // omit says so
)

// out says that f is left out of the struct at p.
func (f *structField) out(p unsafe.Pointer) bool {
	switch f.leave {
	case zeroInt:
		return *(*int)(unsafe.Add(p, f.told)) == 0
	case zeroHalf:
		return *(*int32)(unsafe.Add(p, f.told)) == 0
	case zeroByte:
		return *(*byte)(unsafe.Add(p, f.told)) == 0
	case asked:
		return f.omit(unsafe.Add(p, f.offset))
	}
	return false
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
			if f.out(p) {
				continue
			}
			if !first {
				buf = append(buf, ',')
			}
			first = false
			buf = append(buf, f.name...)
			at := unsafe.Add(p, f.offset)
			if f.encode == nil {
				buf = appendString(buf, *(*string)(at))
			} else if buf, err = f.encode(buf, at); err != nil {
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
	var ifEmpty, ifZero bool
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "string":
			return out, false
		case "omitempty":
			ifEmpty = true
		case "omitzero":
			ifZero = true
		}
	}
	switch {
	case ifEmpty && ifZero:
		var empty structField
		empty.leaveEmpty(f.Type)
		zero := zero(f.Type)
		out.leave, out.omit = asked, func(p unsafe.Pointer) bool { return empty.out(p) || zero(p) }
	case ifZero:
		out.leave, out.omit = asked, zero(f.Type)
	case ifEmpty:
		out.leaveEmpty(f.Type)
	}
	if out.encode = encoderOf(f.Type); plainString(f.Type) {
		out.encode = nil
	}
	return out, true
}

// leaveEmpty leaves the member out when it is what omitempty means.
func (f *structField) leaveEmpty(t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer:
		f.leave, f.told = zeroInt, f.offset
	case reflect.String, reflect.Slice: // both begin with data and length
		f.leave, f.told = zeroInt, f.offset+unsafe.Offsetof(header{}.len)
	case reflect.Bool:
		f.leave, f.told = zeroByte, f.offset
	case reflect.Int32:
		f.leave, f.told = zeroHalf, f.offset
	case reflect.Struct:
		f.leave = never
	default:
		f.leave, f.omit = asked, empty(t)
	}
}

// empty is what omitempty leaves out of the kinds that leaveEmpty does not see at one glance.
func empty(t reflect.Type) func(unsafe.Pointer) bool {
	switch t.Kind() {
	case reflect.Map:
		return func(p unsafe.Pointer) bool {
			return *(*unsafe.Pointer)(p) == nil || reflect.NewAt(t, p).Elem().Len() == 0
		}
	case reflect.Array:
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
