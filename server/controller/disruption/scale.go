package disruption

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
)

// needsScale: a number of pods that must stay needs no denominator.
func needsScale(pdb *policyv1.PodDisruptionBudget) bool {
	return pdb.Spec.MaxUnavailable != nil || pdb.Spec.MinAvailable != nil && pdb.Spec.MinAvailable.Type == intstr.String
}

// expected adds up the scales of all that controls one of the pods, each once.
func expected(s client.Snapshot, pods []*corev1.Pod) (sum int32, unmanaged []string, err error) {
	seen := map[types.UID]bool{}
	for _, pod := range pods {
		ref := metav1.GetControllerOf(pod)
		if ref == nil {
			unmanaged = append(unmanaged, pod.Name)
			continue
		}
		if seen[ref.UID] {
			continue
		}
		seen[ref.UID] = true
		owner, replicas, err := scaleOf(s, pod.Namespace, ref)
		if err != nil {
			return 0, nil, err
		}
		if owner == nil {
			return 0, nil, fmt.Errorf("found no controllers for pod %q", pod.Name)
		}
		if owner.GetUID() != ref.UID && seen[owner.GetUID()] {
			continue // two ReplicaSets of one Deployment
		}
		seen[owner.GetUID()] = true
		sum += replicas
	}
	return sum, unmanaged, nil
}

// scaleOf reads the scale of what an owner reference names; a ReplicaSet of a Deployment counts as that Deployment. The owner is nil when it has gone.
func scaleOf(s client.Snapshot, namespace string, ref *metav1.OwnerReference) (api.Object, int32, error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, 0, err
	}
	kind, _ := s.Catalogue().ByKind(gv.WithKind(ref.Kind))
	if kind == nil {
		return nil, 0, fmt.Errorf("no matches for kind %q in version %q", ref.Kind, ref.APIVersion)
	}
	owner := s.Snapshot.Get(kind, namespace, ref.Name)
	if owner == nil || owner.GetUID() != ref.UID {
		return nil, 0, nil
	}
	if _, ok := owner.(*appsv1.ReplicaSet); ok {
		if above := metav1.GetControllerOf(owner); above != nil && above.Kind == "Deployment" {
			return scaleOf(s, namespace, above)
		}
	}
	sub := kind.Subresource("scale")
	if sub == nil || sub.Project == nil {
		return nil, 0, fmt.Errorf("%s does not implement the scale subresource", kind.GroupResource())
	}
	view, err := sub.Project(owner)
	if err != nil {
		return nil, 0, err
	}
	scale, ok := view.(*autoscalingv1.Scale)
	if !ok {
		return nil, 0, fmt.Errorf("%s %s: its scale is a %T", kind.GroupResource(), ref.Name, view)
	}
	return owner, scale.Spec.Replicas, nil
}
