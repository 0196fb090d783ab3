package revision

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/store"
)

func TestKeys(t *testing.T) {
	controlled := func(kind, name string) *appsv1.ControllerRevision {
		yes := true
		return &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", OwnerReferences: []metav1.OwnerReference{{Kind: kind, Name: name, Controller: &yes}}}}
	}
	ours, orphan := controlled("DaemonSet", "a"), &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: "ns"}}
	for what, c := range map[string]struct {
		event store.Event
		want  []string
	}{
		"somebody adds one":  {store.Event{Type: store.Added, Object: ours}, nil},
		"a label changes":    {store.Event{Type: store.Modified, Object: ours, Old: ours.DeepCopy()}, nil},
		"one is lost":        {store.Event{Type: store.Deleted, Object: ours, Old: ours}, []string{"ns/a"}},
		"another kind's":     {store.Event{Type: store.Deleted, Object: controlled("StatefulSet", "a")}, nil},
		"one is let go":      {store.Event{Type: store.Modified, Object: orphan, Old: ours}, []string{"ns/a"}},
		"one is adopted":     {store.Event{Type: store.Modified, Object: ours, Old: orphan}, []string{"ns/a"}},
		"one changes hands":  {store.Event{Type: store.Modified, Object: controlled("DaemonSet", "b"), Old: ours}, []string{"ns/a", "ns/b"}},
		"an orphan is added": {store.Event{Type: store.Added, Object: orphan}, nil},
	} {
		if got := Keys("DaemonSet")(client.Snapshot{}, &c.event); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", what, got, c.want)
		}
	}
}
