package managedfields_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry/managedfields"
	"codeberg.org/skiff/skiff/server/registry/registrytest"
)

func manager(t testing.TB, k *api.Kind, subresource string) *managedfields.Manager {
	t.Helper()
	m, err := managedfields.For(k, k.Hub(), subresource)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func somePod(r *rand.Rand) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "u"}}
	if r.IntN(2) == 0 {
		p.Labels = map[string]string{"app": fmt.Sprint(r.IntN(3)), "b": "c"}
	}
	for i := range r.IntN(3) {
		c := corev1.Container{Name: fmt.Sprint("c", i), Image: fmt.Sprint("i", r.IntN(3)), Command: []string{"a", fmt.Sprint(r.IntN(2))}}
		c.Resources.Requests = corev1.ResourceList{"cpu": *resource.NewMilliQuantity(int64(r.IntN(3)), resource.DecimalSI)}
		for j := range r.IntN(3) {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprint("E", j), Value: fmt.Sprint(r.IntN(2))})
		}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	if r.IntN(2) == 0 {
		p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: "Exists"}}
	}
	for i := range r.IntN(3) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodConditionType(fmt.Sprint("T", i)), Status: "True", LastTransitionTime: metav1.NewTime(time.Unix(int64(r.IntN(2)), 0))})
	}
	return p
}

func untimed(fields []metav1.ManagedFieldsEntry) []string {
	out := []string{}
	for _, f := range fields {
		out = append(out, fmt.Sprintf("%s %s %s %s %s", f.Manager, f.Operation, f.APIVersion, f.Subresource, f.FieldsV1.GetRawString()))
	}
	return out
}

// The short way gives what apimachinery's field manager gives, for random histories of an object. Both look at the clock,
// which orders the entries, so they are in a bubble where it stands still between them.
func TestSameAsApimachinery(t *testing.T) { synctest.Test(t, sameAsApimachinery) }

func sameAsApimachinery(t *testing.T) {
	k := registrytest.Pod()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		obj := somePod(r)
		theirs := obj.DeepCopy()
		now := metav1.NewTime(time.Now())
		m := manager(t, k, "")
		if err := m.Created(obj, "m0", now); err != nil {
			t.Fatal(err)
		}
		if err := managedfields.CreatedByApimachinery(m, theirs, "m0"); err != nil {
			t.Fatal(err)
		}
		for step := range 12 {
			if a, b := untimed(obj.ManagedFields), untimed(theirs.ManagedFields); !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d step %d:\nshort %q\nfull  %q", seed, step, a, b)
			}
			sub := ""
			if r.IntN(2) == 0 {
				sub = "status"
			}
			m := manager(t, k, sub)
			name := fmt.Sprint("m", r.IntN(13))
			time.Sleep(time.Duration(r.IntN(3)) * time.Second)
			next, want := somePod(r), &corev1.Pod{}
			if sub == "status" {
				next.Spec, next.Labels = obj.Spec, obj.Labels
			} else {
				next.Status = obj.Status
			}
			next.ManagedFields = obj.ManagedFields
			next = next.DeepCopy()
			want = next.DeepCopy()
			if _, err := m.Updated(obj, next, name, metav1.NewTime(time.Now())); err != nil {
				t.Fatal(err)
			}
			if err := managedfields.UpdatedByApimachinery(m, theirs, want, name); err != nil {
				t.Fatal(err)
			}
			obj, theirs = next, want
		}
	}
}

func TestNothingChanged(t *testing.T) {
	m := manager(t, registrytest.Pod(), "")
	p := somePod(rand.New(rand.NewPCG(4, 4)))
	if err := m.Created(p, "a", metav1.Now()); err != nil {
		t.Fatal(err)
	}
	next := p.DeepCopy()
	next.ManagedFields = nil // a client that does not know them
	same, err := m.Updated(p, next, "b", metav1.Now())
	if err != nil || !same || !reflect.DeepEqual(next.ManagedFields, p.ManagedFields) {
		t.Errorf("same %v, %v, %v", same, err, next.ManagedFields)
	}
	next.Annotations = map[string]string{"a": "b"}
	if same, _ = m.Updated(p, next, "b", metav1.Now()); same || len(next.ManagedFields) != 2 {
		t.Errorf("same %v, %v", same, next.ManagedFields)
	}
}

func TestClientResetsManagedFields(t *testing.T) {
	m := manager(t, registrytest.Pod(), "")
	p := somePod(rand.New(rand.NewPCG(4, 4)))
	if err := m.Created(p, "a", metav1.Now()); err != nil {
		t.Fatal(err)
	}
	next := p.DeepCopy()
	next.ManagedFields = []metav1.ManagedFieldsEntry{}
	next.Labels = map[string]string{"x": "y"}
	if _, err := m.Updated(p, next, "b", metav1.Now()); err != nil || len(next.ManagedFields) > 1 {
		t.Errorf("%v %v", err, next.ManagedFields)
	}
}

func TestApply(t *testing.T) {
	m := manager(t, registrytest.Plain("ConfigMap", "configmaps", true, func() api.Object { return &corev1.ConfigMap{} }, nil), "")
	config := func(data map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": "c", "namespace": "default"}, "data": data}}
	}
	first, err := m.Apply(nil, config(map[string]any{"a": "1", "b": "2"}), "alice", false)
	if err != nil {
		t.Fatal(err)
	}
	first.SetUID("u")
	if first.GetObjectKind().GroupVersionKind().Kind != "" {
		t.Error("the result carries its TypeMeta")
	}
	if _, err := m.Apply(first, config(map[string]any{"a": "9"}), "bob", false); err == nil {
		t.Fatal("no conflict")
	}
	forced, err := m.Apply(first, config(map[string]any{"a": "9"}), "bob", true)
	if err != nil {
		t.Fatal(err)
	}
	dropped, err := m.Apply(forced, config(map[string]any{}), "alice", false)
	if err != nil {
		t.Fatal(err)
	}
	if got := dropped.(*corev1.ConfigMap).Data; !reflect.DeepEqual(got, map[string]string{"a": "9"}) {
		t.Errorf("data %v", got)
	}
}

func TestCustomKind(t *testing.T) {
	m := manager(t, registrytest.Widget(), "")
	w := registrytest.Widget().Hub().New().(*unstructured.Unstructured)
	w.Object["spec"] = map[string]any{"size": int64(3), "list": []any{"a"}}
	if err := m.Created(w, "a", metav1.Now()); err != nil {
		t.Fatal(err)
	}
	next := w.DeepCopy()
	if same, err := m.Updated(w, next, "b", metav1.Now()); !same || err != nil {
		t.Errorf("same %v, %v", same, err)
	}
	next.Object["spec"].(map[string]any)["size"] = int64(4)
	if same, err := m.Updated(w, next, "b", metav1.Now()); same || err != nil || len(next.GetManagedFields()) != 2 {
		t.Errorf("same %v, %v, %v", same, err, next.GetManagedFields())
	}
}

func BenchmarkCreated(b *testing.B) {
	m := manager(b, registrytest.Pod(), "")
	p := somePod(rand.New(rand.NewPCG(4, 4)))
	b.ReportAllocs()
	for b.Loop() {
		p.ManagedFields = nil
		if err := m.Created(p, "a", metav1.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreatedByApimachinery(b *testing.B) {
	m := manager(b, registrytest.Pod(), "")
	p := somePod(rand.New(rand.NewPCG(4, 4)))
	b.ReportAllocs()
	for b.Loop() {
		p.ManagedFields = nil
		if err := managedfields.CreatedByApimachinery(m, p, "a"); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkUpdated(b *testing.B, update func(m *managedfields.Manager, old, obj *corev1.Pod) error) {
	m := manager(b, registrytest.Pod(), "status")
	old := somePod(rand.New(rand.NewPCG(4, 4)))
	if err := manager(b, registrytest.Pod(), "").Created(old, "a", metav1.Now()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		next := old.DeepCopy()
		next.Status.Conditions = append(next.Status.Conditions, corev1.PodCondition{Type: "New", Status: "True"})
		if err := update(m, old, next); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUpdated(b *testing.B) {
	benchmarkUpdated(b, func(m *managedfields.Manager, old, obj *corev1.Pod) error {
		_, err := m.Updated(old, obj, "b", metav1.Now())
		return err
	})
}

func BenchmarkUpdatedByApimachinery(b *testing.B) {
	benchmarkUpdated(b, func(m *managedfields.Manager, old, obj *corev1.Pod) error {
		return managedfields.UpdatedByApimachinery(m, old, obj, "b")
	})
}
