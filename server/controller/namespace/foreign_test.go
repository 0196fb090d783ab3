package namespace_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/namespace"
)

func TestObjectsOfOtherServersGoToo(t *testing.T) {
	for name, verbs := range map[string][]string{"deletecollection": nil, "one by one": {"get", "list", "delete"}} {
		t.Run(name, func(t *testing.T) {
			f := NewForeign(t, verbs...)
			w := Start(t, func(now func() time.Time) []controller.Controller {
				return []controller.Controller{namespace.New(func() metav1.Time { return metav1.NewTime(now()) }, f)}
			})
			for _, ns := range []string{"x", "y"} {
				Create(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
				f.Create(ns, "a")
			}
			f.Down(true)
			ns := Create(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "waits"}})
			w.Delete(ns, "")
			w.Eventually(func() string {
				if c := conditionOf(Get(w, ns), corev1.NamespaceDeletionDiscoveryFailure); c == nil || c.Status != corev1.ConditionTrue || c.Reason != "DiscoveryFailed" ||
					!strings.HasPrefix(c.Message, "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: far.example.com/v1") {
					return "no condition that tells of the failure"
				}
				return ""
			})
			f.Down(false)
			w.Delete(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, "")
			w.Settle()
			w.Advance(15 * time.Second)
			w.Eventually(func() string {
				if Exists(w, ns) || Exists(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}}) {
					return "a namespace is still there"
				}
				return ""
			})
			if f.Get("x", "a") != nil || f.Get("y", "a") == nil {
				t.Error("the widgets of the namespace, and no others, should be gone")
			}
		})
	}
}

func TestWhatHoldsObjectsOfOtherServers(t *testing.T) {
	f := NewForeign(t)
	w := Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{namespace.New(func() metav1.Time { return metav1.NewTime(now()) }, f)}
	})
	ns := Create(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
	f.Create("x", "held").Finalizers = []string{"far.example.com/hold"}
	w.Delete(ns, "")
	w.Eventually(func() string {
		remaining, finalizers := conditionOf(Get(w, ns), corev1.NamespaceContentRemaining), conditionOf(Get(w, ns), corev1.NamespaceFinalizersRemaining)
		if remaining == nil || finalizers == nil {
			return "no conditions"
		}
		if remaining.Message != "Some resources are remaining: widgets.far.example.com has 1 resource instances" {
			return remaining.Message
		}
		if finalizers.Message != "Some content in the namespace has finalizers remaining: far.example.com/hold in 1 resource instances" {
			return finalizers.Message
		}
		return ""
	})
	f.Remove("x", "held")
	w.Advance(5 * time.Second)
	w.Eventually(func() string {
		if Exists(w, ns) {
			return "the namespace is still there"
		}
		return ""
	})
}

func conditionOf(ns *corev1.Namespace, kind corev1.NamespaceConditionType) *corev1.NamespaceCondition {
	for i := range ns.Status.Conditions {
		if ns.Status.Conditions[i].Type == kind {
			return &ns.Status.Conditions[i]
		}
	}
	return nil
}
