package scheduler

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func wish(name string, priority int32) *podInfo {
	return newPodInfo(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{Priority: &priority}})
}

func TestBacklogOrder(t *testing.T) {
	b := newBacklog()
	for i, priority := range []int32{0, 5, 0, 5} {
		b.add(wish(fmt.Sprint(i), priority))
	}
	b.remove("a/3")
	var got string
	for p := b.next(time.Time{}); p != nil; p = b.next(time.Time{}) {
		got += p.Name
	}
	if got != "102" {
		t.Errorf("order is %s, want 102", got)
	}
}

// TestBacklogWaits: a refused pod comes back at once for a change that could help, then ever later, and in the end by itself.
func TestBacklogWaits(t *testing.T) {
	b := newBacklog()
	now := time.Unix(1000, 0)
	b.add(wish("p", 0))
	refuse := func() {
		t.Helper()
		if b.next(now) == nil {
			t.Fatal("it is not ready")
		}
		b.wait("a/p", podGone)
	}
	refuse()
	b.wake(nodeLabels, now)
	if b.next(now) != nil {
		t.Fatal("it was woken by a change that cannot help")
	}
	b.wake(podGone, now)
	refuse() // the first retry is free
	for wait := firstBackoff; wait < lastBackoff; wait *= 2 {
		b.wake(podGone, now)
		if b.next(now) != nil {
			t.Fatalf("it did not wait %v", wait)
		}
		at, ok := b.nextDue()
		if !ok || at.Sub(now) != wait {
			t.Fatalf("due in %v, want %v", at.Sub(now), wait)
		}
		now = at
		b.expire(now)
		refuse()
	}
	if at, _ := b.nextDue(); at.Sub(now) != patience {
		t.Errorf("without a change it is due in %v", at.Sub(now))
	}
	b.remove("a/p")
	if _, ok := b.nextDue(); ok {
		t.Error("a removed pod is still due")
	}
}

// TestBacklogReplaces: another pod of the same name begins anew; a status of the same one does not wake it.
func TestBacklogReplaces(t *testing.T) {
	b := newBacklog()
	now := time.Unix(1000, 0)
	b.add(wish("p", 0))
	b.next(now)
	b.wait("a/p", podGone)
	b.refresh(wish("p", 0))
	if b.next(now) != nil {
		t.Error("a refresh woke it")
	}
	other := wish("p", 0)
	other.Pod.UID = "other"
	b.add(other)
	if p := b.next(now); p == nil || p.UID != "other" {
		t.Errorf("next is %v", p)
	}
}
