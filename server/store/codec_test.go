package store

import (
	"bytes"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"codeberg.org/skiff/skiff/server/api"
)

func podKind() *api.Kind {
	return &api.Kind{Kind: "Pod", Plural: "pods", Namespaced: true, Prefix: "/registry/pods",
		Versions: []api.Version{{Version: "v1", New: func() api.Object { return &corev1.Pod{} }}}}
}

func customKind() *api.Kind {
	return &api.Kind{Group: "example.com", Kind: "Widget", Plural: "widgets", Namespaced: true, Prefix: "/registry/example.com/widgets",
		Versions: []api.Version{{Group: "example.com", Version: "v1", New: func() api.Object { return &unstructured.Unstructured{} }}}}
}

func pod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "x", ResourceVersion: "7", Labels: map[string]string{"b": "1", "a": "2"}},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
}

// TestEncodesAsUpstream compares with the serializer that upstream's API server stores with.
func TestEncodesAsUpstream(t *testing.T) {
	got, err := encode(podKind(), pod())
	if err != nil {
		t.Fatal(err)
	}
	stored := pod()
	stored.ResourceVersion = ""
	stored.SetGroupVersionKind(podKind().GVK())
	var want bytes.Buffer
	if err := protobuf.NewSerializer(nil, nil).Encode(stored, &want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("encoded\n%q, upstream\n%q", got, want.Bytes())
	}
}

func TestDecode(t *testing.T) {
	value, err := encode(podKind(), pod())
	if err != nil {
		t.Fatal(err)
	}
	obj, err := decode(podKind(), value, 9)
	if err != nil {
		t.Fatal(err)
	}
	if got := obj.(*corev1.Pod); got.ResourceVersion != "9" || got.Kind != "" || got.Spec.NodeName != "n1" {
		t.Errorf("decoded %v", got)
	}
	json := []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"nodeName":"n1"}}`)
	if obj, err = decode(podKind(), json, 9); err != nil || obj.(*corev1.Pod).Spec.NodeName != "n1" || obj.(*corev1.Pod).Kind != "" {
		t.Errorf("decoded %v, %v", obj, err)
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "no envelope": []byte("k8s\x00"), "cut": value[:len(value)/2], "other": []byte("hello"),
		"another kind": []byte(`{"apiVersion":"v1","kind":"Node"}`), "another version": []byte(`{"apiVersion":"v2","kind":"Pod"}`),
	} {
		if obj, err := decode(podKind(), bad, 1); err == nil {
			t.Errorf("%s: decoded %v", name, obj)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, k := range []*api.Kind{podKind(), customKind()} {
		var obj api.Object = pod()
		if k.Group != "" {
			obj = &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Widget",
				"metadata": map[string]any{"name": "x"}, "n": int64(1)}}
		}
		value, err := encode(k, obj)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
		f.Add(value[:len(value)-3])
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, k := range []*api.Kind{podKind(), customKind()} {
			obj, err := decode(k, value, 1)
			if err != nil {
				continue
			}
			again, err := encode(k, obj)
			if err != nil {
				continue // larger than the limit
			}
			if _, err := decode(k, again, 1); err != nil {
				t.Errorf("what was decoded and encoded cannot be decoded: %v", err)
			}
		}
	})
}
