package codec

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"codeberg.org/skiff/skiff/server/api"
)

// TestJSONAsStandard fills every kind of the catalogue with noise and compares the encoder with encoding/json.
func TestJSONAsStandard(t *testing.T) {
	for _, k := range api.BuiltIn() {
		for i := range k.Versions {
			for seed := range uint64(20) {
				obj := k.Versions[i].New()
				fill(reflect.ValueOf(obj).Elem(), rand.New(rand.NewPCG(seed, 1)), 0)
				compare(t, obj)
			}
		}
	}
	compare(t, &corev1.Pod{})
	compare(t, &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &intstr.IntOrString{Type: intstr.String, StrVal: "25%"}}}}})
	compare(t, &metav1.Table{Rows: []metav1.TableRow{{Cells: []any{"a<b", int64(1), nil, true, 1.5, map[string]any{"a": 1}}}}})
}

func compare(t *testing.T, v any) {
	t.Helper()
	want, err := json.Marshal(v)
	got, err2 := appendValue(nil, v)
	if (err == nil) != (err2 == nil) {
		t.Fatalf("%T: %v, encoding/json: %v", v, err2, err)
	}
	if err == nil && !bytes.Equal(got, want) {
		t.Fatalf("%T:\n got %s\nwant %s", v, got, want)
	}
}

// words are strings with all that needs care.
var words = []string{"", "a", "name", "<&>", "\"\\", "ü", "\u2028", "\xff", "\x01\n", "longer text with spaces"}

// fill sets about half of the fields to something.
func fill(v reflect.Value, r *rand.Rand, depth int) {
	if r.IntN(2) == 0 && depth > 0 || depth > 12 || !v.CanSet() {
		return
	}
	switch v.Interface().(type) {
	case metav1.Time:
		v.Set(reflect.ValueOf(metav1.Unix(r.Int64N(2e9), 0)))
		return
	case metav1.FieldsV1:
		v.Set(reflect.ValueOf(metav1.FieldsV1{Raw: []byte(`{"f:a":{".":{}, "k:{\"x\":\"<\"}":{}}}`)}))
		return
	case runtime.RawExtension:
		v.Set(reflect.ValueOf(runtime.RawExtension{Raw: []byte(`{"a": "<b>"}`)}))
		return
	case intstr.IntOrString:
		v.Set(reflect.ValueOf(intstr.FromString(words[r.IntN(len(words))])))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(words[r.IntN(len(words))])
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(r.Int64N(1<<31) - 1<<30)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), r, depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 3))
		for i := range v.Len() {
			fill(v.Index(i), r, depth+1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(4) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(key, r, 0)
			fill(value, r, depth+1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), r, depth+1)
		}
	}
}

func TestEventsAreCutAsTheyWereAppended(t *testing.T) {
	for _, f := range []Format{JSON, Protobuf} {
		batch := AppendEvent(AppendEvent(nil, f, "ADDED", []byte(`{"a":1}`)), f, "DELETED", []byte(`{"b":2}`))
		first, rest := CutEvent(f, batch)
		second, rest := CutEvent(f, rest)
		if !bytes.Contains(first, []byte("ADDED")) || !bytes.Contains(second, []byte("DELETED")) || len(rest) != 0 {
			t.Errorf("%v: %q %q %q", f, first, second, rest)
		}
	}
}

func TestProtobufEnvelopeIsUpstreams(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"x": "y"}}}
	gvk := corev1.SchemeGroupVersion.WithKind("Pod")
	got, err := Append(nil, Protobuf, gvk, pod)
	if err != nil {
		t.Fatal(err)
	}
	encoded := pod.DeepCopy()
	encoded.SetGroupVersionKind(gvk)
	info, _ := runtime.SerializerInfoForMediaType(api.Codecs.SupportedMediaTypes(), "application/vnd.kubernetes.protobuf")
	var want bytes.Buffer
	if err := info.Serializer.Encode(encoded, &want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("got  %x\nwant %x", got, want.Bytes())
	}
}

// FuzzDecode: no body may harm the decoder, and what is decoded can be encoded again.
func FuzzDecode(f *testing.F) {
	proto, _ := Append(nil, Protobuf, corev1.SchemeGroupVersion.WithKind("Pod"), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
	f.Add(uint8(0), []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1"}}}]}}`))
	f.Add(uint8(1), []byte("kind: Pod\nmetadata: {name: a, creationTimestamp: 2020-01-01T00:00:00Z}\n"))
	f.Add(uint8(2), proto)
	f.Fuzz(func(t *testing.T, format uint8, data []byte) {
		pod := &corev1.Pod{}
		if _, _, err := Decode(Format(format%3), data, pod, true); err != nil {
			return
		}
		pod.SetGroupVersionKind(schema.GroupVersionKind{})
		want, err := json.Marshal(pod)
		got, err2 := appendValue(nil, pod)
		if (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("%v %v\n got %s\nwant %s", err, err2, got, want)
		}
	})
}
