package store

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSharedTexts(t *testing.T) {
	pod := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: strings.Clone("default"), Labels: map[string]string{"app": strings.Clone("web")},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: strings.Clone("kubectl"), FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:spec":{}}`)}}, {}}}}
	}
	var s shared
	a, b, want := pod(), pod(), pod()
	s.object(a)
	s.object(b)
	if a.String() != want.String() || b.String() != want.String() {
		t.Errorf("an object was changed: %v, %v, want %v", a, b, want)
	}
	same := func(what, x, y string) {
		if unsafe.StringData(x) != unsafe.StringData(y) {
			t.Errorf("%s is held twice", what)
		}
	}
	same("the namespace", a.Namespace, b.Namespace)
	same("the label", a.Labels["app"], b.Labels["app"])
	if reflect.ValueOf(a.Labels).UnsafePointer() != reflect.ValueOf(b.Labels).UnsafePointer() {
		t.Error("the labels are held twice")
	}
	same("the manager", a.ManagedFields[0].Manager, b.ManagedFields[0].Manager)
	if x, y := a.ManagedFields[0].FieldsV1.Raw, b.ManagedFields[0].FieldsV1.Raw; &x[0] != &y[0] {
		t.Error("the field set is held twice")
	}
	for range 3 {
		s.text(strings.Repeat("x", sharedBytes-1) + string(rune('a'+len(s.texts))))
	}
	if s.size > sharedBytes {
		t.Errorf("%d bytes are remembered", s.size)
	}
}

func TestSharedMapsAreForgotten(t *testing.T) {
	var l labelMaps
	first := l.share(map[string]string{"a": "b"})
	for i := range 3 * sharedMaps {
		l.share(map[string]string{"a": fmt.Sprint(i)})
	}
	if n := len(l.young) + len(l.old); n > 2*sharedMaps {
		t.Errorf("%d maps are remembered", n)
	}
	if again := l.share(map[string]string{"a": "b"}); reflect.ValueOf(again).UnsafePointer() == reflect.ValueOf(first).UnsafePointer() {
		t.Error("a map that nobody met for long is remembered")
	}
	long := map[string]string{"a": strings.Repeat("x", sharedMapBytes)}
	l.share(long)
	if got := l.share(map[string]string{"a": strings.Repeat("x", sharedMapBytes)}); reflect.ValueOf(got).UnsafePointer() == reflect.ValueOf(long).UnsafePointer() {
		t.Error("a long map is remembered")
	}
}
