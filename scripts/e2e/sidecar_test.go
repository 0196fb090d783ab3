package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestPreStopOfASidecar deletes a pod whose container waits, in its own end, for what its sidecar's preStop hook does: the hook must begin
// with the deletion, not when it is the sidecar's turn to end.
func TestPreStopOfASidecar(t *testing.T) {
	s := newSpace(t)
	ends := `trap 'i=0; until [ -e /shared/drained ]; do sleep 0.1; i=$((i+1)); [ $i -lt 600 ] || exit 9; done; exit 0' TERM; while :; do sleep 0.1; done`
	pod := shell("web", ends, "volumeMounts: [{name: shared, mountPath: /shared}]")
	pod = strings.Replace(pod, "terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 120", 1)
	s.apply(pod + `  volumes: [{name: shared, emptyDir: {}}]
  initContainers:
  - name: side
    image: ` + busybox + `
    restartPolicy: Always
    command: [sh, -c, "` + sleeper + `"]
    volumeMounts: [{name: shared, mountPath: /shared}]
    lifecycle: {preStop: {exec: {command: [touch, /shared/drained]}}}
`)
	s.ready("web")
	h := s.history("web")
	s.kubectl("delete", "pod", "web", "--wait=false")
	p := h.until("the container has ended", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Terminated != nil
	})
	s.terminated(p, 0, "Completed")
	s.eventually("the pod is gone", func() error {
		if out, err := s.tryKubectl("get", "pod", "web", "--ignore-not-found", "-o", "name"); err != nil || strings.TrimSpace(out) != "" {
			return fmt.Errorf("%s %v", out, err)
		}
		return nil
	})
}
