package endpointslice_test

import (
	"fmt"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/endpointslice"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

func start(t *testing.T) *World {
	return Start(t, func(func() time.Time) []controller.Controller { return []controller.Controller{endpointslice.New()} })
}

func service(w *World, change func(*corev1.ServiceSpec)) *corev1.Service {
	w.T.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "web", Labels: map[string]string{"team": "a"}}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}
	if change != nil {
		change(&s.Spec)
	}
	return Create(w, s)
}

func pod(w *World, name string) *corev1.Pod {
	w.T.Helper()
	template := Template("web")
	return Create(w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: template.Labels}, Spec: template.Spec})
}

// ready counts the ready endpoints of all slices, by address.
func ready(w *World) map[string]int {
	counts := map[string]int{}
	for _, s := range List[*discoveryv1.EndpointSlice](w) {
		for _, e := range s.Endpoints {
			if *e.Conditions.Ready {
				counts[e.Addresses[0]]++
			}
		}
	}
	return counts
}

// revisions of the slices by name, to see which were written.
func revisions(w *World) map[string]string {
	out := map[string]string{}
	for _, s := range List[*discoveryv1.EndpointSlice](w) {
		out[s.Name] = s.ResourceVersion
	}
	return out
}

func changed(before, after map[string]string) (n int) {
	for name, rv := range after {
		if before[name] != rv {
			n++
		}
	}
	return n
}

func Test250Pods(t *testing.T) {
	w := start(t)
	for i := range 250 {
		pod(w, fmt.Sprintf("p%03d", i))
	}
	w.Run()
	service(w, nil)
	w.Settle()
	slices := List[*discoveryv1.EndpointSlice](w)
	if len(slices) != 3 || len(ready(w)) != 250 {
		t.Fatalf("%d slices with %d ready endpoints, want 3 with 250", len(slices), len(ready(w)))
	}
	for _, s := range slices {
		if len(s.Endpoints) > 100 || *s.Ports[0].Port != 8080 || s.Labels["team"] != "a" || s.Labels[discoveryv1.LabelServiceName] != "web" || metav1.GetControllerOf(s) == nil {
			t.Errorf("slice %+v", s)
		}
	}
	w.Idle()

	before := revisions(w)
	w.Ready(List[*corev1.Pod](w)[17], false)
	w.Settle()
	if n := changed(before, revisions(w)); n != 1 || len(ready(w)) != 249 {
		t.Errorf("one pod was not ready: %d slices written, %d ready", n, len(ready(w)))
	}
	before = revisions(w)
	w.Delete(List[*corev1.Pod](w)[170], "")
	w.Settle()
	w.Ready(pod(w, "new"), true)
	w.Settle()
	if n := changed(before, revisions(w)); n > 2 || len(revisions(w)) != 3 {
		t.Errorf("one pod replaced another: %d slices written, %d slices", n, len(revisions(w)))
	}
	w.Idle()
}

func TestAnEmptySliceSaysThatThereIsNobody(t *testing.T) {
	w := start(t)
	s := service(w, nil)
	w.Settle()
	if slices := List[*discoveryv1.EndpointSlice](w); len(slices) != 1 || len(slices[0].Endpoints) != 0 {
		t.Fatalf("slices %+v", slices)
	}
	w.Idle()
	p := pod(w, "p")
	w.Ready(p, true)
	w.Settle()
	if slices := List[*discoveryv1.EndpointSlice](w); len(slices) != 1 || len(ready(w)) != 1 {
		t.Fatalf("slices %+v", slices)
	}
	w.Delete(p, "")
	w.Settle()
	if slices := List[*discoveryv1.EndpointSlice](w); len(slices) != 1 || len(slices[0].Endpoints) != 0 {
		t.Fatalf("slices %+v", slices)
	}
	w.Idle()
	Mutate(w, s, "", func(s *corev1.Service) { s.Labels["team"] = "b" })
	w.Settle()
	if l := List[*discoveryv1.EndpointSlice](w)[0].Labels; l["team"] != "b" {
		t.Errorf("labels %v", l)
	}
}

func TestTerminatingServesOn(t *testing.T) {
	w := start(t)
	w.Node("n")
	service(w, nil)
	p := pod(w, "p")
	w.Bind(p, "n")
	w.Ready(p, true)
	w.Delete(p, "")
	w.Settle()
	e := List[*discoveryv1.EndpointSlice](w)[0].Endpoints[0]
	if *e.Conditions.Ready || !*e.Conditions.Serving || !*e.Conditions.Terminating || *e.NodeName != "n" || e.TargetRef.Name != "p" {
		t.Errorf("endpoint %+v", e)
	}
	w.Reap()
	w.Settle()
	w.Idle()
}

func TestNamedPortsSplitSlices(t *testing.T) {
	w := start(t)
	service(w, func(s *corev1.ServiceSpec) { s.Ports[0].TargetPort = intstr.FromString("http") })
	for i, port := range []int32{8080, 8080, 9090} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: fmt.Sprint("p", i), Labels: map[string]string{"app": "web"}}, Spec: Template("web").Spec}
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: port}}
		w.Ready(Create(w, p), true)
	}
	w.Settle()
	counts := map[int32]int{}
	for _, s := range List[*discoveryv1.EndpointSlice](w) {
		counts[*s.Ports[0].Port] += len(s.Endpoints)
	}
	if !maps.Equal(counts, map[int32]int{8080: 2, 9090: 1}) {
		t.Errorf("endpoints by port: %v", counts)
	}
	w.Idle()
}

func TestWhatIsTakenAwayComesBack(t *testing.T) {
	w := start(t)
	s := service(w, func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone })
	w.Ready(pod(w, "p"), true)
	w.Settle()
	slice := List[*discoveryv1.EndpointSlice](w)[0]
	if _, ok := slice.Labels[corev1.IsHeadlessService]; !ok {
		t.Errorf("labels %v", slice.Labels)
	}
	Mutate(w, slice, "", func(s *discoveryv1.EndpointSlice) { delete(s.Labels, discoveryv1.LabelServiceName) })
	w.Settle()
	Mutate(w, slice, "", func(s *discoveryv1.EndpointSlice) { s.Endpoints = nil })
	w.Delete(slice, "")
	w.Settle()
	if got := List[*discoveryv1.EndpointSlice](w); len(got) != 1 || len(ready(w)) != 1 {
		t.Errorf("slices %+v", got)
	}
	Mutate(w, s, "", func(s *corev1.Service) {
		s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com", Selector: s.Spec.Selector}
	})
	w.Settle()
	if got := List[*discoveryv1.EndpointSlice](w); len(got) != 0 {
		t.Errorf("slices of an external name: %+v", got)
	}
	w.Idle()
}
