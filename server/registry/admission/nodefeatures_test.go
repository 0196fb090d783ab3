package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/registry"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

func TestNodeFeatures(t *testing.T) {
	e := Start(t, Options{})
	plugin := nodeFeatures(&Config{Store: e.Store, Catalogue: e.Catalogue})
	node := Create(e, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", Generation: 1}, Spec: corev1.PodSpec{NodeName: "n"}}
	next := old.DeepCopy()
	next.Generation = 2
	next.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1")}}
	ask := func(subresource string, obj, old runtime.Object) error {
		req := e.Request(next)
		req.Subresource = subresource
		return plugin.Validate(t.Context(), &registry.Attributes{Request: req, Verb: registry.VerbUpdate, Object: obj, Old: old})
	}
	const want = `pods "p" is forbidden: pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node "n"`
	if err := ask("resize", next, old); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if err := ask("status", next, old); err != nil {
		t.Errorf("status: %v", err)
	}
	if err := ask("resize", old, old); err != nil {
		t.Errorf("nothing changed: %v", err)
	}
	Mutate(e, node, "", func(n *corev1.Node) { n.Status.DeclaredFeatures = []string{"InPlacePodLevelResourcesVerticalScaling"} })
	if err := ask("resize", next, old); err != nil {
		t.Errorf("declared: %v", err)
	}
}
