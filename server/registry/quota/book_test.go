package quota_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry/quota"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
	"codeberg.org/skiff/skiff/server/store"
)

// What a book has followed is what one finds who adds up anew.
func TestBookFollows(t *testing.T) {
	e := Start(t, Options{Kinds: api.BuiltIn()})
	opened := 0
	book := quota.NewBook(e.Catalogue, func(rev int64, kinds []*api.Kind) (*store.Snapshot, []*store.Event, bool) {
		if rev > 1<<40 {
			opened++
		}
		return e.Store.Since(rev, kinds)
	})
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
		"pods": {}, "count/pods": {}, "requests.cpu": {}, "requests.example.com/gpu": {}, "gpu.deviceclass.resource.k8s.io/devices": {}, "count/configmaps": {}}}}
	write := func(obj api.Object) {
		kind := e.Request(obj).Kind
		var err error
		if old := e.Store.Snapshot().Get(kind, obj.GetNamespace(), obj.GetName()); old == nil {
			_, err = e.Store.Create(e.Ctx, kind, obj)
		} else if rand.IntN(3) == 0 {
			_, err = e.Store.Delete(e.Ctx, kind, obj.GetNamespace(), obj.GetName(), 0)
		} else {
			rev := int64(0)
			_, _ = fmt.Sscan(old.GetResourceVersion(), &rev)
			obj.SetResourceVersion(old.GetResourceVersion())
			_, err = e.Store.Update(e.Ctx, kind, obj, rev)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(q)
	for i := range 300 {
		write(anything())
		at := now.Add(time.Duration(i) * time.Second)
		got, snap, next := book.Used(q, at)
		v := quota.View{Catalogue: e.Catalogue, Snapshot: snap, Now: at}
		if want := quota.Open(v, q).Used(v); !apiequality.Semantic.DeepEqual(got, want) {
			t.Fatalf("step %d: %v, want %v", i, got, want)
		}
		if !next.IsZero() && next.Before(at) {
			t.Errorf("step %d: less is used from %v on, and it is %v", i, next, at)
		}
	}
	if opened != 1 {
		t.Errorf("added up %d times", opened)
	}
}

// anything is an object that the quota may count, or that what it counts depends on.
func anything() api.Object {
	meta := metav1.ObjectMeta{Namespace: "a", Name: fmt.Sprint("x", rand.IntN(6)), UID: "u"}
	if rand.IntN(6) == 0 {
		meta.Namespace = "b"
	}
	switch rand.IntN(6) {
	case 0:
		return &corev1.ConfigMap{ObjectMeta: meta}
	case 1:
		name := "example.com/gpu"
		return &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu", UID: "u"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: &name}}
	case 2:
		return &resourcev1.ResourceClaim{ObjectMeta: meta, Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Name: "r", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: rand.Int64N(9)}}}}}}
	}
	p := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{"cpu": *resource.NewMilliQuantity(rand.Int64N(9000), resource.DecimalSI)}}}}}}
	switch rand.IntN(4) {
	case 0:
		p.Status.Phase = corev1.PodSucceeded
	case 1:
		grace := rand.Int64N(60)
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now.Add(time.Duration(rand.IntN(300)) * time.Second)}, &grace
	}
	return p
}
