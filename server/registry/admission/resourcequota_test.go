package admission

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	rules "codeberg.org/skiff/skiff/server/registry/quota"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

// quotaWorld is a cluster with the catalogue's kinds and all plugins, and a namespace "a".
func quotaWorld(tb testing.TB) *Env {
	tb.Helper()
	e := Start(tb, Options{Kinds: api.BuiltIn(), Admission: func(e *Env) []registry.Plugin {
		table, err := Table(Config{Store: e.Store, Catalogue: e.Catalogue, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}})
		if err != nil {
			tb.Fatal(err)
		}
		return table
	}})
	Create(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
	Create(e, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "default"}})
	return e
}

func amounts(s string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for _, part := range strings.Fields(s) {
		name, amount, _ := strings.Cut(part, "=")
		l[corev1.ResourceName(name)] = resource.MustParse(amount)
	}
	return l
}

func limit(e *Env, name, hard string, scopes ...corev1.ResourceQuotaScope) *corev1.ResourceQuota {
	e.TB.Helper()
	return Create(e, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Spec: corev1.ResourceQuotaSpec{Hard: amounts(hard), Scopes: scopes}})
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "a", Name: name} }

func cpuPod(name, cpu string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: named(name), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i",
		Resources: corev1.ResourceRequirements{Requests: amounts("cpu=" + cpu)}}}}}
}

// change is what Mutate does, with the error.
func change[T api.Object](e *Env, obj T, subresource string, dryRun bool, f func(T)) error {
	req := e.Request(obj)
	req.Subresource, req.DryRun = subresource, dryRun
	_, _, err := e.Registry.Update(e.Ctx, req, func(current runtime.Object) (runtime.Object, error) {
		next := current.DeepCopyObject().(T)
		f(next)
		return next, nil
	}, registry.UpdateOptions{Retry: true})
	return err
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\nwant %s", err, want)
	}
}

func allowed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func resize(to string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = amounts("cpu=" + to) }
}

func TestQuotaOfResizedPods(t *testing.T) {
	e := quotaWorld(t)
	p := Create(e, cpuPod("p", "600m"))
	other := Create(e, cpuPod("other", "100m"))
	q := limit(e, "q", "requests.cpu=1 pods=5")
	refused(t, change(e, p, "resize", false, resize("901m")), `pods "p" is forbidden: exceeded quota: q, requested: requests.cpu=301m, used: requests.cpu=700m, limited: requests.cpu=1`)
	allowed(t, change(e, p, "resize", true, resize("900m"))) // dry
	allowed(t, change(e, p, "resize", false, resize("900m")))
	refused(t, change(e, other, "resize", false, resize("101m")), "requested: requests.cpu=1m, used: requests.cpu=1, limited: requests.cpu=1")
	// Over quota, whatever does not ask for more passes.
	Mutate(e, q, "", func(q *corev1.ResourceQuota) { q.Spec.Hard = amounts("requests.cpu=500m pods=1") })
	allowed(t, change(e, p, "resize", false, resize("800m")))
	allowed(t, change(e, p, "", false, func(p *corev1.Pod) { p.Labels = map[string]string{"x": "y"} }))
	refused(t, change(e, p, "resize", false, resize("801m")), "requested: requests.cpu=1m, used: requests.cpu=900m, limited: requests.cpu=500m")
}

func TestQuotaOfPodsThatComeIntoAScope(t *testing.T) {
	e := quotaWorld(t)
	limit(e, "ending", "pods=1 limits.cpu=1", corev1.ResourceQuotaScopeTerminating)
	end := func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64); *p.Spec.ActiveDeadlineSeconds = 100 }
	bare, p, q := Create(e, cpuPod("bare", "1")), cpuPod("p", "1"), cpuPod("q", "1")
	for _, p := range []*corev1.Pod{p, q} {
		p.Spec.Containers[0].Resources.Limits = amounts("cpu=1")
		Create(e, p)
	}
	refused(t, change(e, bare, "", false, end), "failed quota: ending: must specify limits.cpu for: c")
	allowed(t, change(e, p, "", false, end))
	refused(t, change(e, q, "", false, end), "exceeded quota: ending, requested: limits.cpu=1,pods=1, used: limits.cpu=1,pods=1, limited: limits.cpu=1,pods=1")
}

func TestQuotaOfClaimsThatGrow(t *testing.T) {
	e := quotaWorld(t)
	yes := true
	Create(e, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "gold"}, Provisioner: "x", AllowVolumeExpansion: &yes})
	limit(e, "size", "requests.storage=10Gi gold.storageclass.storage.k8s.io/requests.storage=3Gi persistentvolumeclaims=2")
	limit(e, "fast", "persistentvolumeclaims=0", corev1.ResourceQuotaScopeVolumeAttributesClass)
	class := "gold"
	c := &corev1.PersistentVolumeClaim{ObjectMeta: named("c"), Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class,
		AccessModes: []corev1.PersistentVolumeAccessMode{"ReadWriteOnce"}, Resources: corev1.VolumeResourceRequirements{Requests: amounts("storage=1Gi")}}}
	c = Create(e, c)
	Mutate(e, c, "", func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "v" })
	Mutate(e, c, "status", func(c *corev1.PersistentVolumeClaim) { c.Status.Phase = corev1.ClaimBound })
	grow := func(to string) error {
		return change(e, c, "", false, func(c *corev1.PersistentVolumeClaim) { c.Spec.Resources.Requests = amounts("storage=" + to) })
	}
	allowed(t, grow("2Gi"))
	refused(t, grow("4Gi"), "exceeded quota: size, requested: gold.storageclass.storage.k8s.io/requests.storage=2Gi, used: gold.storageclass.storage.k8s.io/requests.storage=2Gi, limited: gold.storageclass.storage.k8s.io/requests.storage=3Gi")
	allowed(t, grow("3Gi"))
	fast := "fast"
	refused(t, change(e, c, "", false, func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeAttributesClassName = &fast }),
		"exceeded quota: fast, requested: persistentvolumeclaims=1, used: persistentvolumeclaims=0, limited: persistentvolumeclaims=0")
}

func TestQuotaOfServicesAndDevices(t *testing.T) {
	e := quotaWorld(t)
	limit(e, "q", "services.nodeports=2 services.loadbalancers=0 gpu.deviceclass.resource.k8s.io/devices=3 count/resourceclaims.resource.k8s.io=2")
	s := Create(e, &corev1.Service{ObjectMeta: named("s"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "x", Port: 1}, {Name: "y", Port: 2}}}})
	become := func(to corev1.ServiceType, more ...corev1.ServicePort) error {
		return change(e, s, "", false, func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports = to, append(s.Spec.Ports, more...) })
	}
	refused(t, become("NodePort", corev1.ServicePort{Name: "z", Port: 3}), "requested: services.nodeports=3, used: services.nodeports=0, limited: services.nodeports=2")
	allowed(t, become("NodePort"))
	refused(t, become("LoadBalancer"), "requested: services.loadbalancers=1, used: services.loadbalancers=0, limited: services.loadbalancers=0")
	allowed(t, become("ClusterIP"))
	claim := func(name string, n int64) error {
		_, err := TryCreate(e, &resourcev1.ResourceClaim{ObjectMeta: named(name), Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
			Requests: []resourcev1.DeviceRequest{{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", Count: n}}}}}})
		return err
	}
	allowed(t, claim("x", 2))
	refused(t, claim("y", 2), "requested: gpu.deviceclass.resource.k8s.io/devices=2, used: gpu.deviceclass.resource.k8s.io/devices=2, limited: gpu.deviceclass.resource.k8s.io/devices=3")
	allowed(t, claim("y", 1))
	refused(t, claim("z", 0), "requested: count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=1,")
}

// Nothing is held by a write that one of several quotas refuses, that is dry, or that fails after admission.
func TestQuotaHoldsNothingForNothing(t *testing.T) {
	e := quotaWorld(t)
	plugin := resourceQuota(&Config{Store: e.Store, Catalogue: e.Catalogue})
	limit(e, "one", "count/configmaps=1")
	limit(e, "two", "count/configmaps=0")
	try := func(name string, dry bool) error {
		obj := &corev1.ConfigMap{ObjectMeta: named(name)}
		a := &registry.Attributes{Request: e.Request(obj), Verb: registry.VerbCreate, Object: obj}
		a.DryRun = dry
		return plugin.Validate(e.Ctx, a) // never finished: what it holds stays held
	}
	refused(t, try("x", false), "exceeded quota: two")
	e.Delete(&corev1.ResourceQuota{ObjectMeta: named("two")}, nil)
	allowed(t, try("x", true))
	allowed(t, try("y", false))
	refused(t, try("z", false), "exceeded quota: one, requested: count/configmaps=1, used: count/configmaps=1")

	Create(e, &corev1.ConfigMap{ObjectMeta: named("taken")})
	if err := func() error { _, err := TryCreate(e, &corev1.ConfigMap{ObjectMeta: named("taken")}); return err }(); err == nil {
		t.Error("a name was given twice")
	}
	_, err := e.Registry.DeleteCollection(e.Ctx, e.Request(&corev1.ConfigMap{ObjectMeta: named("")}), registry.ListOptions{}, &metav1.DeleteOptions{})
	allowed(t, err)
	Create(e, &corev1.ConfigMap{ObjectMeta: named("again")})
}

// Pods that end, and those of a collection that is deleted, make room at once.
func TestQuotaOfEndedPods(t *testing.T) {
	e := quotaWorld(t)
	limit(e, "q", "pods=1 count/pods=3")
	p := Create(e, cpuPod("p", "1"))
	_, err := TryCreate(e, cpuPod("q", "1"))
	refused(t, err, "requested: pods=1, used: pods=1, limited: pods=1")
	Mutate(e, p, "status", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	Mutate(e, Create(e, cpuPod("q", "1")), "status", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	Create(e, cpuPod("r", "1"))
	_, err = TryCreate(e, cpuPod("s", "1"))
	refused(t, err, "requested: count/pods=1,pods=1, used: count/pods=3,pods=1")
	_, err = e.Registry.DeleteCollection(e.Ctx, e.Request(cpuPod("", "1")), registry.ListOptions{}, &metav1.DeleteOptions{})
	allowed(t, err)
	Create(e, cpuPod("s", "1"))
}

func TestQuotaOfCustomResources(t *testing.T) {
	e := quotaWorld(t)
	limit(e, "q", "count/widgets.example.com=1")
	kind := Widget()
	widget := func(name string) error {
		obj := kind.Versions[0].New().(*unstructured.Unstructured)
		obj.SetNamespace("a")
		obj.SetName(name)
		_, err := e.Registry.Create(e.Ctx, registry.Request{User: e.User, Kind: kind, Namespace: "a", Name: name}, obj)
		return err
	}
	define := func() {
		allowed(t, e.Catalogue.Add(kind))
		allowed(t, e.Store.AddKind(e.Ctx, kind))
	}
	define()
	allowed(t, widget("x"))
	refused(t, widget("y"), `widgets.example.com "y" is forbidden: exceeded quota: q, requested: count/widgets.example.com=1, used: count/widgets.example.com=1`)
	e.Catalogue.Remove(kind)
	e.Store.RemoveKind(kind)
	kind = Widget()
	define() // what is stored is still there
	refused(t, widget("y"), "used: count/widgets.example.com=1")
	_, _, err := e.Registry.Delete(e.Ctx, registry.Request{User: e.User, Kind: kind, Namespace: "a", Name: "x"}, nil)
	allowed(t, err)
	allowed(t, widget("y"))
}

// However many write at once, no snapshot shows more than the quota, and all of it can be had.
func TestQuotaIsNeverExceeded(t *testing.T) {
	e := quotaWorld(t)
	kind := e.Request(cpuPod("", "1")).Kind
	q := limit(e, "q", "pods=20 requests.cpu=1")
	limit(e, "wide", "pods=21")
	var wg sync.WaitGroup
	var made, raised atomic.Int64
	stop := make(chan bool)
	watched := make(chan bool)
	go func() {
		defer close(watched)
		for {
			snap := e.Store.Snapshot()
			used := rules.Open(rules.View{Catalogue: e.Catalogue, Snapshot: snap}, q).Used(rules.View{Catalogue: e.Catalogue, Snapshot: snap})
			if cpu, pods := used["requests.cpu"], used["pods"]; cpu.MilliValue() > 1000 || pods.Value() > 20 {
				t.Errorf("%d pods, %s cpu", pods.Value(), cpu.String())
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for i := range 60 {
		wg.Go(func() {
			name := fmt.Sprint("p", i/2) // every name twice: one of them fails in the store
			p, err := TryCreate(e, cpuPod(name, "10m"))
			if err != nil {
				return
			}
			made.Add(1)
			for range 5 {
				cpu := rand.Int64N(100) + 11
				if change(e, p, "resize", false, resize(fmt.Sprint(cpu, "m"))) == nil {
					raised.Add(1)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	<-watched
	if made.Load() > 20 || made.Load() < 10 || raised.Load() == 0 {
		t.Errorf("%d pods, %d resizes", made.Load(), raised.Load())
	}
	// Nothing is held any more: what is left can be had to the last.
	for i := e.Store.Snapshot().Count(kind, "a"); i < 20; i++ {
		Create(e, cpuPod(fmt.Sprint("more", i), "0"))
	}
	_, err := TryCreate(e, cpuPod("last", "0"))
	refused(t, err, "requested: pods=1, used: pods=20, limited: pods=20")
}
