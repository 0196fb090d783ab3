package kubelet

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/runtime/container"
)

// TestRestartBeforeTheNetwork: a daemon that starts before the node has its pod CIDR, with pods whose status was never written, kills
// nothing: what a sandbox has is known from the node's own records, and what it lacks it gets when the network is there.
func TestRestartBeforeTheNetwork(t *testing.T) {
	for name, known := range map[string]bool{"connected before": true, "killed before it was connected": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fakeServer())
			network := &fakeNetwork{}
			r.cfg.Network = network
			r.start()
			r.create(testPod("web", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }))
			before := r.running("web").Status.ContainerStatuses[0].ContainerID
			r.stop()
			p := r.pod("web")
			p.Status = corev1.PodStatus{Phase: corev1.PodPending}
			if _, err := r.client.CoreV1().Pods("default").UpdateStatus(context.Background(), p, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			network.mu.Lock()
			network.down = errors.New("this node has no pod CIDR yet")
			if !known {
				network.by = nil
			}
			network.mu.Unlock()
			r.start()
			if known {
				if ip := r.running("web").Status.PodIP; ip == "" {
					t.Error("its address is not known")
				}
			} else {
				r.eventually("a step to connect it fails", func() (bool, any) {
					network.mu.Lock()
					defer network.mu.Unlock()
					return network.refused >= 2, network.refused
				})
			}
			network.mu.Lock()
			network.down = nil
			network.mu.Unlock()
			r.k.NodeChanged()
			after := r.running("web").Status.ContainerStatuses[0]
			if s := r.rt.List(); len(s) != 1 || s[0].Spec.ID != "uid-web-0" || s[0].State != container.SandboxReady {
				t.Errorf("sandboxes %+v", s)
			}
			if after.ContainerID != before || after.RestartCount != 0 || len(r.rt.started) != 1 {
				t.Errorf("it was started again: %+v, starts %q", after, r.rt.started)
			}
		})
	}
}

// TestMirrorsWithoutAFile: a static pod's file went while the agent was stopped. Its mirror goes, also one that a user has deleted
// already and that waits for its node.
func TestMirrorsWithoutAFile(t *testing.T) {
	mirror := func(name string, terminating bool) *corev1.Pod {
		return testPod(name, func(p *corev1.Pod) {
			p.Annotations = map[string]string{wellknown.AnnotationConfigMirror: "h", wellknown.AnnotationConfigHash: "h", wellknown.AnnotationConfigSource: "file"}
			if terminating {
				now, grace := metav1.Now(), int64(30)
				p.DeletionTimestamp, p.DeletionGracePeriodSeconds, p.Finalizers = &now, &grace, []string{"test"}
			}
		})
	}
	r := newRig(t, fakeServer(mirror("left", false), mirror("terminating", true)))
	r.create(testPod("ordinary", nil))
	r.start()
	for _, name := range []string{"left", "terminating"} {
		r.eventually(name+" is gone", func() (bool, any) {
			_, err := r.client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
			return apierrors.IsNotFound(err), err
		})
	}
	r.running("ordinary")
	r.create(mirror("late", false)) // e.g. restored from a backup
	r.eventually("late is gone", func() (bool, any) { return r.pod("late") == nil, nil })
}
