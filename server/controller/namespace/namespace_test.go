package namespace_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/namespace"
	"codeberg.org/skiff/skiff/server/controller/rootca"
	"codeberg.org/skiff/skiff/server/controller/serviceaccount"
)

func start(t *testing.T) *World {
	return Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{namespace.New(func() metav1.Time { return metav1.NewTime(now()) }, nil), serviceaccount.New(), rootca.New([]byte("bundle"))}
	})
}

func TestPodsGoFirst(t *testing.T) {
	w := start(t)
	w.Node("n")
	ns := Create(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
	w.Settle()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "default"}}
	bundle := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "kube-root-ca.crt"}}
	if !Exists(w, account) || Get(w, bundle).Data["ca.crt"] != "bundle" {
		t.Fatal("the new namespace has no account or no CA bundle")
	}
	pod := Create(w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "p"}, Spec: Template("p").Spec})
	w.Bind(pod, "n")
	held := Create(w, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "held", Finalizers: []string{"example.com/hold"}}})

	w.Delete(ns, "")
	w.Settle()
	if !Exists(w, account) || !Exists(w, bundle) || Get(w, held).DeletionTimestamp != nil || Get(w, pod).DeletionTimestamp == nil {
		t.Error("something else than pods went while there is a pod")
	}
	if !has(Get(w, ns), corev1.NamespaceContentRemaining) {
		t.Errorf("conditions %+v", Get(w, ns).Status.Conditions)
	}
	w.Idle()
	w.Reap()
	w.Settle()
	if Exists(w, account) || Exists(w, bundle) || !Exists(w, ns) || !has(Get(w, ns), corev1.NamespaceFinalizersRemaining) {
		t.Errorf("conditions %+v", Get(w, ns).Status.Conditions)
	}
	w.Idle()
	Mutate(w, held, "", func(s *corev1.Secret) { s.Finalizers = nil })
	w.Eventually(func() string {
		if Exists(w, ns) {
			return "the namespace is still there"
		}
		return ""
	})
	w.Idle()
}

func has(ns *corev1.Namespace, kind corev1.NamespaceConditionType) bool {
	for _, c := range ns.Status.Conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func TestTheAccountAndTheBundleComeBack(t *testing.T) {
	w := start(t)
	w.Settle()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "default"}}
	bundle := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "kube-root-ca.crt"}}
	w.Delete(account, "")
	Mutate(w, bundle, "", func(c *corev1.ConfigMap) { c.Data["ca.crt"] = "forged" })
	w.Settle()
	if !Exists(w, account) || Get(w, bundle).Data["ca.crt"] != "bundle" {
		t.Errorf("account %v, bundle %v", Exists(w, account), Get(w, bundle).Data)
	}
	w.Delete(bundle, "")
	w.Settle()
	if !Exists(w, bundle) {
		t.Error("the bundle did not come back")
	}
	w.Idle()
}
