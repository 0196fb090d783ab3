package garbage_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/garbage"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

func startForeign(t *testing.T) (*World, *Foreign) {
	f := NewForeign(t)
	return Start(t, func(func() time.Time) []controller.Controller { return []controller.Controller{garbage.New(f)} }), f
}

func ownedByWidget(w *metav1.PartialObjectMetadata) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: w.APIVersion, Kind: w.Kind, Name: w.Name, UID: w.UID}
}

func ownedByUs(o *corev1.ConfigMap) metav1.OwnerReference {
	block := true
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: o.Name, UID: o.UID, BlockOwnerDeletion: &block}
}

func (s sweeper) goneThere(name string) {
	s.T.Helper()
	s.Eventually(func() string {
		if s.Foreign.Get(Namespace, name) != nil {
			return "widget " + name + " still exists"
		}
		return ""
	})
}

type sweeper struct {
	*World
	*Foreign
}

func TestForeignDependents(t *testing.T) {
	w, f := startForeign(t)
	owner := configMap(w, "owner")
	f.Create(Namespace, "kept", ownedByUs(owner))
	absent := owner.DeepCopy()
	absent.UID = "another"
	f.Create(Namespace, "half", ownedByUs(owner), ownedByUs(absent))
	f.Create(Namespace, "lost", ownedByUs(absent))
	f.Create(Namespace, "free")
	Create(w, f.APIService())
	sweeper{w, f}.goneThere("lost")
	w.Eventually(func() string {
		if len(f.Get(Namespace, "half").OwnerReferences) != 1 {
			return "the absent owner is still referred to"
		}
		return ""
	})
	if f.Get(Namespace, "kept") == nil || f.Get(Namespace, "free") == nil {
		t.Error("a widget with its owner, or without any, was deleted")
	}

	// An owner that waits for its dependents waits for those there too.
	w.Delete(owner, metav1.DeletePropagationForeground)
	for range 3 { // the sweep deletes, and the next looks again
		w.Settle()
		w.Advance(15 * time.Second)
	}
	gone(w, owner)
	if f.Get(Namespace, "kept") != nil || f.Get(Namespace, "half") != nil {
		t.Error("the owner went before its dependents")
	}
}

func TestForeignOwners(t *testing.T) {
	w, f := startForeign(t)
	widget := f.Create(Namespace, "widget")
	Create(w, f.APIService())
	missing := ownedByWidget(widget)
	missing.UID = "another"
	lost := Create(w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "lost", OwnerReferences: []metav1.OwnerReference{missing}}})
	kept := Create(w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "kept", OwnerReferences: []metav1.OwnerReference{ownedByWidget(widget)}}})
	gone(w, lost)
	w.Advance(15 * time.Second)
	w.Settle()
	if !Exists(w, kept) {
		t.Fatal("a dependent of a widget that exists was deleted")
	}

	f.Down(true)
	late := Create(w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "late", OwnerReferences: []metav1.OwnerReference{missing}}})
	f.Remove(Namespace, "widget")
	w.Advance(15 * time.Second)
	if !Exists(w, kept) || !Exists(w, late) {
		t.Error("something was deleted while nobody could tell whether its owner exists")
	}
	f.Down(false)
	w.Advance(15 * time.Second)
	gone(w, kept, late)
}
