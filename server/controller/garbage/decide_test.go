package garbage

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

// A reference cannot lead into another namespace: the author is told, and the owner counts as gone, or as unknown for an object without namespace.
func TestOwnersInAnotherNamespace(t *testing.T) {
	w := controllertest.Start(t, func(func() time.Time) []controller.Controller { return nil })
	controllertest.Create(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}})
	owner := controllertest.Create(w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "owner"}})
	ref := func(uid string) []metav1.OwnerReference {
		r := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}
		if uid != "" {
			r.UID = "11111111-2222-3333-4444-555555555555"
		}
		return []metav1.OwnerReference{r}
	}
	for name, c := range map[string]struct {
		obj  api.Object
		want []verb
	}{
		"in its own namespace":  {&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "a", OwnerReferences: ref("")}}, nil},
		"in another one":        {&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: controllertest.Namespace, Name: "b", OwnerReferences: ref("")}}, []verb{warnNamespace, deleteObject}},
		"gone":                  {&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: controllertest.Namespace, Name: "c", OwnerReferences: ref("gone")}}, []verb{deleteObject}},
		"of a cluster's object": {&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "d", OwnerReferences: ref("")}}, []verb{warnNamespace}},
	} {
		obj := controllertest.Create(w, c.obj)
		plan, err := decide(observe(w.Client.Snapshot(), item{kind: w.Client.KindOf(obj), obj: obj}))
		if err != nil {
			t.Fatal(err)
		}
		var got []verb
		for _, s := range plan {
			got = append(got, s.verb)
		}
		if len(got) != len(c.want) || len(got) > 0 && got[0] != c.want[0] || len(got) > 1 && got[1] != c.want[1] {
			t.Errorf("%s: %v; want %v", name, plan, c.want)
		}
	}
}
