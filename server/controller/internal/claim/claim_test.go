package claim

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestOf(t *testing.T) {
	gvk := appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
	owner := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "mine", UID: "mine"}}
	other := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "other", UID: "other"}}
	pod := func(name, app string, owner *appsv1.ReplicaSet, leaving bool) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}}}
		if owner != nil {
			p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, gvk)}
		}
		if leaving {
			p.DeletionTimestamp = &metav1.Time{}
		}
		return p
	}
	pods := []*corev1.Pod{pod("own", "x", owner, false), pod("own-leaving", "x", owner, true), pod("strayed", "y", owner, false), pod("orphan", "x", nil, false),
		pod("orphan-leaving", "x", nil, true), pod("taken", "x", other, false), pod("stranger", "y", nil, false)}
	names := func(pods []*corev1.Pod) (out []string) {
		for _, p := range pods {
			out = append(out, p.Name)
		}
		return out
	}
	c := Of(owner, labels.SelectorFromSet(labels.Set{"app": "x"}), slices.Values(pods))
	if got := names(c.Own); !slices.Equal(got, []string{"own", "own-leaving"}) {
		t.Errorf("own %v", got)
	}
	if got := names(c.Adopt); !slices.Equal(got, []string{"orphan"}) {
		t.Errorf("adopt %v", got)
	}
	if got := names(c.Release); !slices.Equal(got, []string{"strayed"}) {
		t.Errorf("release %v", got)
	}
	if c := Of(owner, labels.Everything(), slices.Values(pods)); len(c.Own)+len(c.Adopt) > 0 {
		t.Errorf("an empty selector selects %v and %v", names(c.Own), names(c.Adopt))
	}
	refuse := func(*corev1.Pod) bool { return false }
	if c := Of(owner, labels.SelectorFromSet(labels.Set{"app": "x"}), slices.Values(pods), refuse); len(c.Adopt) > 0 || len(c.Release) != 3 {
		t.Errorf("with a filter: %v and %v", names(c.Adopt), names(c.Release))
	}
	owner.DeletionTimestamp = &metav1.Time{}
	if c := Of(owner, labels.SelectorFromSet(labels.Set{"app": "x"}), slices.Values(pods)); !c.Settled() {
		t.Error("an owner on its way out takes or lets go")
	}
}
