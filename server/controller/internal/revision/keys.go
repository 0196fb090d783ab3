package revision

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/store"
)

// Keys maps the loss of a revision, or a change of who controls it, to the object of a kind that controls it or did before. A revision
// that somebody adds wakes nobody, as upstream: what is equal to another is tidied up when the parent or its pods change.
func Keys(kind string) func(client.Snapshot, *store.Event) []string {
	return func(_ client.Snapshot, e *store.Event) []string {
		r := e.Object.(*appsv1.ControllerRevision)
		now := controllerOf(r, kind)
		if e.Type == store.Deleted {
			return now
		}
		old, _ := e.Old.(*appsv1.ControllerRevision)
		if old == nil {
			return nil
		}
		if before := controllerOf(old, kind); len(before) != len(now) || len(now) > 0 && before[0] != now[0] {
			return append(before, now...)
		}
		return nil
	}
}

// controllerOf is the key of what controls a revision, if it is of this kind.
func controllerOf(r *appsv1.ControllerRevision, kind string) []string {
	if ref := metav1.GetControllerOfNoCopy(r); ref != nil && ref.Kind == kind {
		return []string{r.Namespace + "/" + ref.Name}
	}
	return nil
}
