package endpointslicemirroring_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/endpointslicemirroring"
	"codeberg.org/skiff/skiff/server/controller/garbage"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

func TestMirrorsWhatIsWrittenByHand(t *testing.T) {
	w := Start(t, func(func() time.Time) []controller.Controller {
		return []controller.Controller{endpointslicemirroring.New(), garbage.New(nil)}
	})
	meta := metav1.ObjectMeta{Namespace: Namespace, Name: "db"}
	e := Create(w, &corev1.Endpoints{ObjectMeta: meta, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}, {IP: "2001:db8::1"}}, NotReadyAddresses: []corev1.EndpointAddress{{IP: "192.0.2.2"}},
		Ports: []corev1.EndpointPort{{Name: "sql", Port: 5432}}}}})
	w.Settle()
	if n := len(List[*discoveryv1.EndpointSlice](w)); n != 0 {
		t.Errorf("%d slices without a service", n)
	}
	s := Create(w, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "sql", Port: 5432}}}})
	w.Settle()
	count := func() map[discoveryv1.AddressType]int {
		counts := map[discoveryv1.AddressType]int{}
		for _, slice := range List[*discoveryv1.EndpointSlice](w) {
			counts[slice.AddressType] += len(slice.Endpoints)
			if *slice.Ports[0].Port != 5432 || slice.Labels[discoveryv1.LabelServiceName] != "db" {
				t.Errorf("slice %+v", slice)
			}
		}
		return counts
	}
	if got := count(); got[discoveryv1.AddressTypeIPv4] != 2 || got[discoveryv1.AddressTypeIPv6] != 1 {
		t.Errorf("endpoints %v", got)
	}
	w.Idle()
	before := List[*discoveryv1.EndpointSlice](w)
	Mutate(w, e, "", func(e *corev1.Endpoints) { e.Subsets[0].NotReadyAddresses = nil })
	w.Settle()
	if got := count(); got[discoveryv1.AddressTypeIPv4] != 1 || len(List[*discoveryv1.EndpointSlice](w)) != 2 {
		t.Errorf("endpoints %v", got)
	}
	for _, slice := range before {
		if !Exists(w, slice) {
			t.Errorf("slice %s was replaced, not changed", slice.Name)
		}
	}
	Mutate(w, s, "", func(s *corev1.Service) { s.Spec.Selector = map[string]string{"app": "db"} })
	w.Settle()
	if n := len(List[*discoveryv1.EndpointSlice](w)); n != 0 {
		t.Errorf("%d slices of a service with a selector", n)
	}
	Mutate(w, s, "", func(s *corev1.Service) { s.Spec.Selector = nil })
	w.Settle()
	if n := len(List[*discoveryv1.EndpointSlice](w)); n != 2 {
		t.Errorf("%d slices, want 2 again", n)
	}
	Mutate(w, e, "", func(e *corev1.Endpoints) { e.Labels = map[string]string{discoveryv1.LabelSkipMirror: "true"} })
	w.Settle()
	if n := len(List[*discoveryv1.EndpointSlice](w)); n != 0 {
		t.Errorf("%d slices though none is wanted", n)
	}
	w.Idle()
}
