package store

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestLargeObjectsAreCommitted: what waits in memory for a commit of the backend is bounded in bytes.
func TestLargeObjectsAreCommitted(t *testing.T) {
	s, k, stop := start(t, t.TempDir())
	defer stop()
	commits := s.member.Load().server.Backend().(interface{ Commits() int64 })
	large := strings.Repeat("x", 1<<20)
	before := commits.Commits()
	const count = 40
	for i := range count {
		obj := numbered(i).DeepCopyObject().(*corev1.Pod)
		obj.Annotations = map[string]string{"large": large}
		if _, err := s.Create(t.Context(), k, obj); err != nil {
			t.Fatal(err)
		}
	}
	want := int64(count << 20 / mostUncommitted)
	for end := time.Now().Add(time.Minute); commits.Commits()-before < want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d commits after %d MiB, want %d", commits.Commits()-before, count, want)
		}
	}
}
