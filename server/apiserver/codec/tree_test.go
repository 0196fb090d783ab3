package codec

import (
	"bytes"
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "sigs.k8s.io/json"
)

func FuzzTree(f *testing.F) {
	f.Add(`{"b":[1,2.5,-0,1e30,null,true,"<x>\u2028"],"a":{"":{}},"kind":"K"}`)
	f.Fuzz(func(t *testing.T, text string) {
		content := map[string]any{}
		if kjson.UnmarshalCaseSensitivePreserveInts([]byte(text), &content) != nil {
			return
		}
		want, err := json.Marshal(content)
		if err != nil {
			return
		}
		got, err := appendValue(nil, &unstructured.Unstructured{Object: content})
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s\n got %s, %v\nwant %s", text, got, err, want)
		}
	})
}

func BenchmarkTree(b *testing.B) {
	u := &unstructured.Unstructured{}
	text := `{"apiVersion":"a/v1","kind":"K","metadata":{"name":"x","namespace":"y","labels":{"a":"b","c":"d"},"uid":"0"},"spec":{"list":[{"name":"a","port":1},{"name":"b","port":2}],"on":true}}`
	if err := u.UnmarshalJSON([]byte(text)); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	for _, f := range []struct {
		name string
		do   func() error
	}{
		{"tree", func() error { _, err := appendTree(buf, u.Object); return err }},
		{"encodingjson", func() error { _, err := json.Marshal(u.Object); return err }},
	} {
		b.Run(f.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
