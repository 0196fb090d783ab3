package garbage_test

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/garbage"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
)

func start(t *testing.T) *World {
	return Start(t, func(func() time.Time) []controller.Controller { return []controller.Controller{garbage.New(nil)} })
}

func ownedBy(w *World, owners ...api.Object) (refs []metav1.OwnerReference) {
	block := true
	for _, o := range owners {
		gv, kind := w.Client.KindOf(o).GVK().ToAPIVersionAndKind()
		refs = append(refs, metav1.OwnerReference{APIVersion: gv, Kind: kind, Name: o.GetName(), UID: o.GetUID(), BlockOwnerDeletion: &block})
	}
	return refs
}

func configMap(w *World, name string, owners ...api.Object) *corev1.ConfigMap {
	w.T.Helper()
	return Create(w, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name, OwnerReferences: ownedBy(w, owners...)}})
}

func secret(w *World, name string, owners ...api.Object) *corev1.Secret {
	w.T.Helper()
	return Create(w, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name, OwnerReferences: ownedBy(w, owners...)}})
}

func gone[T api.Object](w *World, objs ...T) {
	w.T.Helper()
	w.Eventually(func() string {
		for _, obj := range objs {
			if Exists(w, obj) {
				return fmt.Sprintf("%T %s still exists", obj, obj.GetName())
			}
		}
		return ""
	})
}

func TestBackground(t *testing.T) {
	w := start(t)
	a := configMap(w, "a")
	b := secret(w, "b", a)
	c := configMap(w, "c", b)
	w.Idle()
	w.Delete(a, metav1.DeletePropagationBackground)
	if Exists(w, a) {
		t.Error("the owner waits")
	}
	gone(w, b)
	gone(w, c)
	w.Idle()
}

func TestForeground(t *testing.T) {
	w := start(t)
	a := configMap(w, "a")
	b := secret(w, "b", a)
	Mutate(w, b, "", func(s *corev1.Secret) { s.Finalizers = []string{"example.com/hold"} })
	c := configMap(w, "c", b)
	w.Delete(a, metav1.DeletePropagationForeground)
	gone(w, c)
	w.Settle()
	if !Exists(w, a) || !Exists(w, b) {
		t.Error("the owner or its dependent went before what it waits for")
	}
	w.Idle()
	Mutate(w, b, "", func(s *corev1.Secret) { s.Finalizers = nil })
	gone(w, b)
	gone(w, a)
}

func TestForegroundWaitsOnlyForWhatBlocks(t *testing.T) {
	w := start(t)
	a := configMap(w, "a")
	b := secret(w, "b", a)
	Mutate(w, b, "", func(s *corev1.Secret) {
		s.Finalizers = []string{"example.com/hold"}
		s.OwnerReferences[0].BlockOwnerDeletion = nil
	})
	w.Delete(a, metav1.DeletePropagationForeground)
	gone(w, a)
	w.Eventually(func() string {
		if Get(w, b).DeletionTimestamp == nil {
			return "the dependent is not being deleted"
		}
		return ""
	})
	w.Idle()
}

func TestOrphan(t *testing.T) {
	w := start(t)
	a := configMap(w, "a")
	b, c := secret(w, "b", a), configMap(w, "c", a)
	w.Delete(a, metav1.DeletePropagationOrphan)
	gone(w, a)
	w.Settle()
	if len(Get(w, b).OwnerReferences)+len(Get(w, c).OwnerReferences) > 0 {
		t.Error("references are left")
	}
	w.Idle()
}

func TestTwoOwners(t *testing.T) {
	w := start(t)
	a, b := configMap(w, "a"), configMap(w, "b")
	c := secret(w, "c", a, b)
	w.Delete(a, metav1.DeletePropagationForeground)
	gone(w, a)
	w.Settle()
	if refs := Get(w, c).OwnerReferences; len(refs) != 1 || refs[0].UID != b.UID {
		t.Errorf("references %+v; want the one owner that is left", refs)
	}
	w.Idle()
	w.Delete(b, metav1.DeletePropagationBackground)
	gone(w, c)
}

// A circle of n objects, each owned by the one before, does not wait for itself for ever.
func TestCircles(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationForeground, metav1.DeletePropagationBackground} {
			t.Run(fmt.Sprint(n, policy), func(t *testing.T) {
				w := start(t)
				var circle []*corev1.ConfigMap
				for i := range n {
					if i == 0 {
						circle = append(circle, configMap(w, "0"))
					} else {
						circle = append(circle, configMap(w, fmt.Sprint(i), circle[i-1]))
					}
				}
				Mutate(w, circle[0], "", func(c *corev1.ConfigMap) { c.OwnerReferences = ownedBy(w, circle[n-1]) })
				w.Delete(circle[0], policy)
				gone(w, circle...)
			})
		}
	}
}

func TestOwnersThatCannotBe(t *testing.T) {
	w := start(t)
	refs := func(apiVersion, kind, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: Namespace, Name: name, OwnerReferences: []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: "nobody", UID: "nobody"}}}
	}
	absent := Create(w, &corev1.Secret{ObjectMeta: refs("v1", "ConfigMap", "absent")})
	gone(w, absent)
	unknown := Create(w, &corev1.Secret{ObjectMeta: refs("example.com/v1", "Widget", "unknown")})
	cluster := refs("v1", "ConfigMap", "cluster")
	cluster.Namespace = ""
	role := Create(w, &rbacv1.ClusterRole{ObjectMeta: cluster})
	// A successor of the same name is not the owner.
	a := configMap(w, "a")
	b := secret(w, "b", a)
	w.Delete(a, "")
	configMap(w, "a")
	gone(w, b)
	time.Sleep(50 * time.Millisecond)
	if !Exists(w, unknown) || !Exists(w, role) {
		t.Error("an object whose owner cannot be looked up was deleted")
	}
}

func TestAcrossKindsAndGroups(t *testing.T) {
	w := start(t)
	one := int32(1)
	d := Create(w, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "d"}, Spec: appsv1.DeploymentSpec{
		Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}, Template: Template("x")}})
	rs := Create(w, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "r", OwnerReferences: ownedBy(w, d)}, Spec: appsv1.ReplicaSetSpec{
		Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}, Template: Template("x")}})
	template := Template("x")
	pod := Create(w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "p", OwnerReferences: ownedBy(w, rs)}, Spec: template.Spec})
	w.Delete(d, metav1.DeletePropagationForeground)
	gone(w, pod)
	gone(w, rs)
	gone(w, d)
	w.Idle()
}
