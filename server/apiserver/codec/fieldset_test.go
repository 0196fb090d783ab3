package codec

import (
	"bytes"
	"encoding/json"
	"testing"
)

var fieldSets = map[string]bool{
	`{}`:                           true,
	`{"f:a":{}}`:                   true,
	`{"f:a":{".":{},"f:b":{}}}`:    true,
	`{"k:{\"name\":\"x\"}":{}}`:    true,
	`{"f:a":{},"v:\\\\":{"b":{}}}`: true,
	``:                             false,
	`{`:                            false,
	`{}}`:                          false,
	`{}{}`:                         false,
	`{,"a":{}}`:                    false,
	`{"a":{},}`:                    false,
	`{"a"}`:                        false,
	`{"a":{}"b":{}}`:               false,
	`{"a":1}`:                      false,
	`{"a": {}}`:                    false,
	`{"<":{}}`:                     false,
	`{"\u0041":{}}`:                false,
	`null`:                         false,
}

func TestFieldSet(t *testing.T) {
	for text, want := range fieldSets {
		if got := fieldSet([]byte(text)); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// FuzzFieldSet: what is taken as it is must be what encoding/json would have written.
func FuzzFieldSet(f *testing.F) {
	for text := range fieldSets {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !fieldSet(data) {
			return
		}
		var compact, escaped bytes.Buffer
		if err := json.Compact(&compact, data); err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		json.HTMLEscape(&escaped, compact.Bytes())
		if !bytes.Equal(escaped.Bytes(), data) {
			t.Fatalf("%q is written %q", data, escaped.Bytes())
		}
	})
}
