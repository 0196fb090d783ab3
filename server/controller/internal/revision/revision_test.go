package revision

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func parent(image string) Parent {
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "ds", UID: "u"}}
	template := &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "x"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}}}
	return Parent{Object: set, GVK: appsv1.SchemeGroupVersion.WithKind("DaemonSet"), Template: template, HashLabel: "hash"}
}

// Law: whatever templates were wanted before, the current revision holds the one that is wanted, has the highest number, and
// deciding again plans nothing.
func TestHistoriesOfTemplates(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var history []*appsv1.ControllerRevision
		for step := range 20 {
			p := parent(fmt.Sprint("image:", r.IntN(5)))
			plan, err := Decide(p, history)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Template(plan.Current)
			if err != nil || got.Spec.Containers[0].Image != p.Template.Spec.Containers[0].Image {
				t.Fatalf("seed %d step %d: the current revision holds %+v, %v", seed, step, got, err)
			}
			history = append(plan.Old, plan.Current)
			for _, old := range plan.Old {
				if old.Revision >= plan.Current.Revision {
					t.Fatalf("seed %d step %d: revision %d is not above %d", seed, step, plan.Current.Revision, old.Revision)
				}
			}
			if again, _ := Decide(p, history); again.String() != "" {
				t.Fatalf("seed %d step %d: the second plan is %s", seed, step, again)
			}
		}
	}
}

func TestARevisionThatWasWrittenAnewIsTheSame(t *testing.T) {
	p := parent("image:1")
	plan, err := Decide(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	_ = json.Unmarshal(plan.Current.Data.Raw, &v)
	plan.Current.Data.Raw, _ = json.MarshalIndent(v, "", "  ")
	if again, _ := Decide(p, []*appsv1.ControllerRevision{plan.Current}); again.Create {
		t.Error("a revision with other spaces is taken for another template")
	}
}

func TestCollisionsHaveOtherNames(t *testing.T) {
	p := parent("image:1")
	first, _ := Decide(p, nil)
	n := int32(1)
	p.Collisions = &n
	second, _ := Decide(p, nil)
	if first.Current.Name == second.Current.Name {
		t.Errorf("both are %s", first.Current.Name)
	}
}

func TestTruncate(t *testing.T) {
	var old []*appsv1.ControllerRevision
	for i := range 5 {
		old = append(old, &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i)}})
	}
	drop := Truncate(old, 2, func(r *appsv1.ControllerRevision) bool { return r.Name == "1" })
	if len(drop) != 3 || drop[0].Name != "0" || drop[1].Name != "2" || drop[2].Name != "3" {
		t.Errorf("dropped %v", drop)
	}
}

// Whatever somebody has written into a revision, it is read or refused, and compared, without harm.
func FuzzTemplate(f *testing.F) {
	data, _ := Data(parent("image:1").Template)
	f.Add(data)
	f.Add([]byte(`{"spec":null}`))
	f.Add([]byte(`[1e999]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := &appsv1.ControllerRevision{}
		r.Data.Raw = raw
		if template, err := Template(r); err == nil && template == nil {
			t.Error("neither a template nor an error")
		}
		if _, err := Decide(parent("image:1"), []*appsv1.ControllerRevision{r}); err != nil {
			t.Error(err)
		}
	})
}
