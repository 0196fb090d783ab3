package podgc

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEvictedPodsGoFirstThenTheOldest(t *testing.T) {
	pod := func(name string, age time.Duration, phase corev1.PodPhase, reason string) *corev1.Pod {
		at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(-age)
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(at)}, Status: corev1.PodStatus{Phase: phase, Reason: reason}}
	}
	pods := []*corev1.Pod{
		pod("running", 9*time.Hour, corev1.PodRunning, ""), pod("new", time.Hour, corev1.PodSucceeded, ""), pod("old", 3*time.Hour, corev1.PodFailed, ""),
		pod("older", 4*time.Hour, corev1.PodSucceeded, ""), pod("evicted", time.Minute, corev1.PodFailed, "Evicted"),
	}
	for threshold, want := range map[int][]string{0: {"evicted", "older", "old", "new"}, 2: {"evicted", "older"}, 3: {"evicted"}, 4: nil} {
		var got []string
		for _, p := range decideTerminated(slices.Clone(pods), threshold) {
			got = append(got, p.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("threshold %d: removes %v; want %v", threshold, got, want)
		}
	}
}
