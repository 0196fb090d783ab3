package endpoints_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/endpoints"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

func start(t *testing.T) *World {
	return Start(t, func(func() time.Time) []controller.Controller { return []controller.Controller{endpoints.New()} })
}

func named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: map[string]string{"app": "web"}}
}

func TestFollowsPods(t *testing.T) {
	w := start(t)
	for _, name := range []string{"a", "b", "c"} {
		w.Ready(Create(w, &corev1.Pod{ObjectMeta: named(name), Spec: Template("web").Spec}), name != "b")
	}
	s := Create(w, &corev1.Service{ObjectMeta: named("web"), Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}}})
	w.Settle()
	e := &corev1.Endpoints{ObjectMeta: named("web")}
	if got := Get(w, e); len(got.Subsets) != 1 || len(got.Subsets[0].Addresses) != 2 || len(got.Subsets[0].NotReadyAddresses) != 1 || got.Subsets[0].Ports[0].Port != 80 {
		t.Fatalf("endpoints %+v", got)
	}
	w.Idle()
	Mutate(w, e, "", func(e *corev1.Endpoints) { e.Subsets = nil })
	w.Settle()
	if got := Get(w, e); len(got.Subsets) != 1 {
		t.Errorf("endpoints %+v; what is theirs comes back", got)
	}
	w.Delete(s, "")
	w.Settle()
	if Exists(w, e) {
		t.Error("the endpoints outlive their service")
	}
}

func TestCustomEndpoints(t *testing.T) {
	w := start(t)
	lone := Create(w, &corev1.Endpoints{ObjectMeta: named("lone")})
	s := Create(w, &corev1.Service{ObjectMeta: named("custom"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}})
	custom := Create(w, &corev1.Endpoints{ObjectMeta: named("custom"), Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}}, Ports: []corev1.EndpointPort{{Port: 80}}}}})
	w.Settle()
	if got := Get(w, custom); len(got.Subsets) != 1 {
		t.Errorf("custom endpoints were changed: %+v", got)
	}
	w.Idle()
	w.Delete(s, "")
	w.Settle()
	if Exists(w, custom) || !Exists(w, lone) {
		t.Error("a service takes its endpoints with it, and nothing else")
	}
}
