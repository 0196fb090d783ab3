package resourcequota_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/resourcequota"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/quota"
	"codeberg.org/skiff/skiff/server/registry/registrytest"
)

func quotas(now func() time.Time) []controller.Controller {
	return []controller.Controller{resourcequota.New(now)}
}

func TestStatusFollowsUse(t *testing.T) {
	w := Start(t, quotas)
	hard := corev1.ResourceList{}
	for name, amount := range map[corev1.ResourceName]string{"pods": "5", "requests.cpu": "2", "limits.memory": "1Gi", "services": "3",
		"services.nodeports": "3", "count/configmaps": "4", "count/deployments.apps": "2", "secrets": "1"} {
		hard[name] = resource.MustParse(amount)
	}
	q := Create(w, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}})
	best := Create(w, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "best"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("5")}, Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}}})
	check := func(q *corev1.ResourceQuota, want map[corev1.ResourceName]string) {
		t.Helper()
		w.Settle()
		s := Get(w, q).Status
		if len(s.Used) != len(s.Hard) || len(s.Hard) == 0 {
			t.Errorf("status %+v", s)
		}
		for name, amount := range want {
			if got := s.Used[name]; got.Cmp(resource.MustParse(amount)) != 0 {
				t.Errorf("%s: %s used, want %s", name, got.String(), amount)
			}
		}
	}
	check(q, map[corev1.ResourceName]string{"pods": "0", "requests.cpu": "0", "services": "0"})
	w.Idle()

	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "p"}, Spec: Template("x").Spec}
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("64Mi")},
		Limits:   corev1.ResourceList{"memory": resource.MustParse("64Mi")}}
	p = Create(w, p)
	Create(w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "c"}})
	Create(w, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "s"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}}})
	check(q, map[corev1.ResourceName]string{"pods": "1", "requests.cpu": "500m", "limits.memory": "64Mi", "services": "1", "services.nodeports": "1", "count/configmaps": "1", "secrets": "0"})
	check(best, map[corev1.ResourceName]string{"pods": "0"})
	w.Idle()

	w.Finish(p, 0)
	check(q, map[corev1.ResourceName]string{"pods": "0", "requests.cpu": "0", "services": "1"})
	Mutate(w, q, "", func(q *corev1.ResourceQuota) { q.Spec.Hard = corev1.ResourceList{"services": resource.MustParse("9")} })
	check(q, map[corev1.ResourceName]string{"services": "1"})
	w.Idle()
}

// Whatever happens, the status is in the end the sum of what the objects use.
func TestStatusIsTheSum(t *testing.T) {
	w := Start(t, quotas)
	hard := corev1.ResourceList{}
	for _, name := range []corev1.ResourceName{"pods", "count/pods", "requests.cpu", "services.nodeports", "requests.storage", "count/configmaps", "gpu.deviceclass.resource.k8s.io/devices", "requests.example.com/gpu"} {
		hard[name] = resource.MustParse("1000")
	}
	all := Create(w, &corev1.ResourceQuota{ObjectMeta: named("all"), Spec: corev1.ResourceQuotaSpec{Hard: hard}})
	ending := Create(w, &corev1.ResourceQuota{ObjectMeta: named("ending"), Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{"pods": hard["pods"], "requests.cpu": hard["pods"]}, Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}}})
	for i := range 240 {
		step(w, fmt.Sprint("x", rand.IntN(8)))
		if i%40 != 39 {
			continue
		}
		w.Settle()
		snap := w.Client.Snapshot()
		v := quota.View{Catalogue: w.Catalogue, Snapshot: snap.Snapshot, Now: w.Now()}
		for _, q := range []*corev1.ResourceQuota{all, ending} {
			want := map[corev1.ResourceName]int64{}
			for _, kind := range w.Catalogue.Kinds() {
				for obj := range snap.Snapshot.List(kind, Namespace, "") {
					for name, amount := range v.Usage(kind, obj) {
						if quota.InScope(q, obj) {
							want[name] += amount.MilliValue()
						}
					}
				}
			}
			for name, got := range Get(w, q).Status.Used {
				if got.MilliValue() != want[name] {
					t.Errorf("step %d: %s: %s used, want %d m", i, name, got.String(), want[name])
				}
			}
		}
	}
	w.Idle()
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: Namespace, Name: name} }

// step makes, changes or deletes something; it does not matter if it cannot.
func step(w *World, name string) {
	pod := &corev1.Pod{ObjectMeta: named(name), Spec: Template("x").Spec}
	pod.Spec.NodeName = "n"
	pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": *resource.NewQuantity(rand.Int64N(9)+1, resource.DecimalSI)}
	device := "example.com/gpu"
	update := func(obj api.Object, sub string, change func(api.Object)) {
		req := w.Request(obj)
		req.Subresource = sub
		_, _, _ = w.Registry.Update(w.Ctx, req, func(current runtime.Object) (runtime.Object, error) {
			next := current.DeepCopyObject().(api.Object)
			change(next)
			return next, nil
		}, registry.UpdateOptions{Retry: true})
	}
	try := func(obj api.Object) { _, _ = w.Registry.Create(w.Ctx, w.Request(obj), obj) }
	switch rand.IntN(9) {
	case 0, 1:
		try(pod)
	case 2:
		update(pod, "resize", func(o api.Object) { o.(*corev1.Pod).Spec.Containers[0].Resources = pod.Spec.Containers[0].Resources })
	case 3:
		update(pod, "", func(o api.Object) { o.(*corev1.Pod).Spec.ActiveDeadlineSeconds = ptr.To[int64](100) })
	case 4:
		update(pod, "status", func(o api.Object) { o.(*corev1.Pod).Status.Phase = corev1.PodFailed })
	case 5:
		_, _, _ = w.Registry.Delete(w.Ctx, w.Request(pod), &metav1.DeleteOptions{GracePeriodSeconds: ptr.To(rand.Int64N(2))})
	case 6:
		try(&corev1.Service{ObjectMeta: named(name), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}}})
		try(&corev1.ConfigMap{ObjectMeta: named(name)})
	case 7:
		_, _ = w.Registry.DeleteCollection(w.Ctx, w.Request(&corev1.ConfigMap{ObjectMeta: named("")}), registry.ListOptions{}, &metav1.DeleteOptions{})
		try(&resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: &device}})
	case 8:
		try(&resourcev1.ResourceClaim{ObjectMeta: named(name), Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
			Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu"}}}}}})
	}
}

// A pod on a node that is lost is charged until a second grace period is over, without any event.
func TestLostPodsAreGivenUp(t *testing.T) {
	w := Start(t, quotas)
	q := Create(w, &corev1.ResourceQuota{ObjectMeta: named("q"), Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("5")}}})
	pod := &corev1.Pod{ObjectMeta: named("p"), Spec: Template("x").Spec}
	pod.Spec.NodeName = "n"
	w.Delete(Create(w, pod), "")
	for _, want := range []int64{1, 1, 0} {
		w.Eventually(func() string {
			if used := Get(w, q).Status.Used[corev1.ResourcePods]; used.Value() != want {
				return fmt.Sprint(used.Value(), " pods, want ", want)
			}
			return ""
		})
		w.Advance(31 * time.Second)
	}
}

// Custom resources are counted while their definition is there, and what was stored before it is counted when it comes.
func TestStatusCountsCustomResources(t *testing.T) {
	w := Start(t, quotas)
	q := Create(w, &corev1.ResourceQuota{ObjectMeta: named("q"), Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/widgets.example.com": resource.MustParse("5")}}})
	check := func(want int64) {
		t.Helper()
		w.Settle()
		if used := Get(w, q).Status.Used["count/widgets.example.com"]; used.Value() != want {
			t.Errorf("%d used, want %d", used.Value(), want)
		}
	}
	check(0)
	var kind *api.Kind
	define := func() {
		kind = registrytest.Widget()
		if err := errors.Join(w.Catalogue.Add(kind), w.Store.AddKind(w.Ctx, kind)); err != nil {
			t.Fatal(err)
		}
	}
	request := func(name string) registry.Request {
		return registry.Request{User: w.User, Kind: kind, Namespace: Namespace, Name: name}
	}
	define()
	for _, name := range []string{"x", "y"} {
		obj := kind.Versions[0].New()
		obj.SetNamespace(Namespace)
		obj.SetName(name)
		if _, err := w.Registry.Create(w.Ctx, request(name), obj); err != nil {
			t.Fatal(err)
		}
	}
	check(2)
	w.Catalogue.Remove(kind)
	w.Store.RemoveKind(kind)
	define()
	check(2)
	if _, _, err := w.Registry.Delete(w.Ctx, request("x"), nil); err != nil {
		t.Fatal(err)
	}
	check(1)
	if _, err := w.Registry.DeleteCollection(w.Ctx, request(""), registry.ListOptions{}, &metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	check(0)
}
