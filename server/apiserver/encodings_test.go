package apiserver

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestEncodingsAreKeptFromTheSecondListOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, key, obj := newEncodings(), formKey{}, &corev1.Pod{}
		for range 2 {
			if e.open(key, heavyFrom-1) != nil {
				t.Error("a short list is kept")
			}
		}
		if e.open(key, heavyFrom) != nil {
			t.Error("the first list is kept")
		}
		f := e.open(key, heavyFrom)
		f.Put(obj, []byte("pod"))
		for range 3 { // as long as it is used
			time.Sleep(keepEncodings + time.Second)
			if b, ok := e.open(key, heavyFrom).Get(obj); !ok || string(b) != "pod" {
				t.Fatalf("kept: %q %v", b, ok)
			}
		}
		e.open(formKey{event: true}, heavyFrom)
		if _, ok := e.open(formKey{event: true}, heavyFrom).Get(obj); ok {
			t.Error("another form has it too")
		}
		time.Sleep(3 * keepEncodings)
		if len(e.forms) != 0 || e.bytes != 0 {
			t.Errorf("a server at rest keeps %d forms, %d bytes", len(e.forms), e.bytes)
		}
		f.Put(obj, []byte("late")) // a list that took that long
		if e.bytes != 0 {
			t.Error("a form that is gone keeps encodings")
		}
	})
}

func TestEncodingsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, piece := newEncodings(), make([]byte, 1<<20)
		e.open(formKey{}, heavyFrom)
		f := e.open(formKey{}, heavyFrom)
		for range 100 {
			f.Put(&corev1.Pod{}, piece)
		}
		if e.bytes > mostEncodings || e.bytes < mostEncodings/2 {
			t.Errorf("%d bytes are kept", e.bytes)
		}
		time.Sleep(4 * keepEncodings)
		if e.bytes != 0 {
			t.Errorf("%d bytes are left", e.bytes)
		}
	})
}
