package api

import (
	"math/rand"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/randfill"
)

// fuzzed returns a hub object full of random values.
func fuzzed(k *Kind, seed int64) Object { return fuzzedVersion(*k.Hub(), k.Kind, seed) }

func fuzzedVersion(v Version, kind string, seed int64) Object {
	f := randfill.NewWithSeed(seed).NilChance(0.3).NumElements(1, 2).MaxDepth(12).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewQuantity(c.Int63n(1000), resource.DecimalSI)
		},
		func(q *intstr.IntOrString, c randfill.Continue) { *q = intstr.FromInt32(int32(c.Intn(1000))) },
		func(t *metav1.Time, c randfill.Continue) { *t = metav1.Unix(c.Int63n(1<<31), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.NewMicroTime(time.Unix(c.Int63n(1<<31), 0))
		},
		func(r *runtime.RawExtension, c randfill.Continue) { *r = runtime.RawExtension{Raw: []byte(`{"a":1}`)} },
		func(m *metav1.FieldsV1, c randfill.Continue) { *m = metav1.FieldsV1{Raw: []byte(`{"f:a":{}}`)} },
		func(t *metav1.TypeMeta, c randfill.Continue) {},
	)
	obj := v.New()
	f.Fill(obj)
	obj.GetObjectKind().SetGroupVersionKind(gvk(v.Group, v.Version, kind))
	return obj
}

// Whatever JSON decodes into an object, nothing that a kind does with it panics.
func FuzzDecodedObject(f *testing.F) {
	kinds := BuiltIn()
	for i, k := range kinds {
		if b, err := json.Marshal(fuzzed(k, int64(i))); err == nil {
			f.Add(uint8(i), b, b)
		}
		f.Add(uint8(i), []byte(`{"spec":{"template":{"spec":{"containers":[{}],"volumes":[{}]}}}}`), []byte(`{}`))
	}
	f.Fuzz(func(t *testing.T, n uint8, a, b []byte) {
		k := kinds[int(n)%len(kinds)]
		obj, old := k.Hub().New(), k.Hub().New()
		if json.Unmarshal(a, obj) != nil || json.Unmarshal(b, old) != nil {
			return
		}
		exercise(k, obj, old)
	})
}

// TestRandomObjectsDoNotPanic does the same with objects that are full to the brim.
func TestRandomObjectsDoNotPanic(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for _, k := range BuiltIn() {
		for range 20 {
			obj, old := fuzzed(k, r.Int63()), fuzzed(k, r.Int63())
			exercise(k, obj, old)
			exercise(k, k.Hub().New(), old)
			exercise(k, obj, k.Hub().New())
		}
	}
}

// exercise calls all funcs of a kind, in the registry's order.
func exercise(k *Kind, obj, old Object) {
	if k.Default != nil {
		k.Default(old)
		k.Default(obj)
	}
	created := obj.DeepCopyObject().(Object)
	if k.PrepareCreate != nil {
		k.PrepareCreate(created)
	}
	if k.Validate != nil {
		_ = k.Validate(created).ToAggregate()
	}
	updated := obj.DeepCopyObject().(Object)
	if k.PrepareUpdate != nil {
		k.PrepareUpdate(updated, old)
	}
	if k.ValidateUpdate != nil {
		_ = k.ValidateUpdate(updated, old).ToAggregate()
	}
	if k.Warnings != nil {
		k.Warnings(created, nil)
		k.Warnings(updated, old)
	}
	if k.Fields != nil {
		k.Fields(obj)
	}
	if k.GracePeriod != nil {
		k.GracePeriod(obj, nil)
	}
	for _, i := range k.Indexes {
		i.Values(obj)
	}
	for _, c := range k.Columns {
		c.Cell(obj, time.Unix(0, 0))
	}
	for _, v := range k.Versions[1:] {
		if there, err := v.FromHub(obj); err == nil {
			_, _ = v.ToHub(there)
		}
	}
	for _, s := range k.Subresources {
		exerciseSubresource(s, old, obj)
	}
}

func exerciseSubresource(s Subresource, stored, sent Object) {
	if s.Inject == nil {
		return
	}
	var body runtime.Object = sent
	if s.Project != nil {
		var err error
		if body, err = s.Project(sent); err != nil {
			return
		}
	}
	if got, err := s.Inject(stored, body); err == nil && s.Validate != nil {
		_ = s.Validate(got, stored).ToAggregate()
	}
}
