package replica

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/store"
)

// ownerIndex is kept by the store over every kind.
const ownerIndex = "metadata.ownerReferences.uid"

// OwnKey is the key of the object of an event: "namespace/name".
func OwnKey(_ client.Snapshot, e *store.Event) []string {
	if e.Type == store.Deleted {
		return nil
	}
	return []string{e.Object.GetNamespace() + "/" + e.Object.GetName()}
}

// PodKeys maps a pod's event to the set that controls it, or did before, and a pod without controller to the sets that select it.
func PodKeys(kind string, matching func(client.Snapshot, *corev1.Pod) []string) func(client.Snapshot, *store.Event) []string {
	return func(s client.Snapshot, e *store.Event) (keys []string) {
		pod := e.Object.(*corev1.Pod)
		ref := metav1.GetControllerOf(pod)
		if ref != nil && ref.Kind == kind {
			keys = append(keys, pod.Namespace+"/"+ref.Name)
		}
		if e.Old != nil {
			if old := metav1.GetControllerOf(e.Old); old != nil && old.Kind == kind && (ref == nil || ref.UID != old.UID) {
				keys = append(keys, pod.Namespace+"/"+old.Name)
			}
		}
		if ref == nil && e.Type != store.Deleted {
			keys = append(keys, matching(s, pod)...)
		}
		return keys
	}
}

// Selects tells whether the set's selector matches a pod of its namespace.
func Selects(set Set, pod *corev1.Pod) bool { return set.Selector.Matches(labels.Set(pod.Labels)) }

// Pods returns what Decide wants: the pods that the set controls, and those of its namespace that it selects and nobody controls.
func Pods(s client.Snapshot, set Set) (pods []*corev1.Pod) {
	for pod := range client.ByIndex[*corev1.Pod](s, ownerIndex, string(set.Object.GetUID())) {
		pods = append(pods, pod)
	}
	for pod := range client.List[*corev1.Pod](s, set.Object.GetNamespace()) {
		if metav1.GetControllerOf(pod) == nil && Selects(set, pod) {
			pods = append(pods, pod)
		}
	}
	return pods
}
