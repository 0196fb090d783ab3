package revision

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/store"
)

// Keys maps a revision's event to the object of a kind that controls it, or did before.
func Keys(kind string) func(client.Snapshot, *store.Event) []string {
	return func(_ client.Snapshot, e *store.Event) (keys []string) {
		for _, obj := range []api.Object{e.Object, e.Old} {
			r, ok := obj.(*appsv1.ControllerRevision)
			if !ok || r == nil {
				continue
			}
			if ref := metav1.GetControllerOfNoCopy(r); ref != nil && ref.Kind == kind {
				keys = append(keys, r.Namespace+"/"+ref.Name)
			}
		}
		return keys
	}
}
