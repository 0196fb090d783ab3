package kubelet

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// warned waits for a warning about a pod.
func (r *rig) warned(pod, reason, text string) {
	r.t.Helper()
	r.eventually(pod+" has the event "+reason, func() (bool, any) {
		list, err := r.client.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{})
		if err != nil {
			return false, err
		}
		for _, e := range list.Items {
			if e.InvolvedObject.Name == pod && e.Reason == reason && e.Type == corev1.EventTypeWarning && strings.Contains(e.Message, text) {
				return true, nil
			}
		}
		return false, list.Items
	})
}

// TestCannotHonour: what the node cannot do as the pod says is not done in another way. The pod waits, and an event says for what.
func TestCannotHonour(t *testing.T) {
	claim := func(name string, status resourcev1.ResourceClaimStatus) *resourcev1.ResourceClaim {
		return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Status: status}
	}
	mine := []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: "driver", UID: "uid-driver"}, {Resource: "pods", Name: "no-device", UID: "uid-no-device"}}
	r := newRig(t, fakeServer(
		&nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "sandboxed"}, Handler: "runsc"},
		&nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "ordinary"}, Handler: "runc"},
		claim("free", resourcev1.ResourceClaimStatus{}),
		claim("other", resourcev1.ResourceClaimStatus{Allocation: &resourcev1.AllocationResult{}}),
		claim("none", resourcev1.ResourceClaimStatus{Allocation: &resourcev1.AllocationResult{}, ReservedFor: mine}),
		claim("gpu", resourcev1.ResourceClaimStatus{ReservedFor: mine, Allocation: &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{
			Results: []resourcev1.DeviceRequestAllocationResult{{Driver: "gpu.example.com"}}}}}),
	))
	r.start()
	class := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.RuntimeClassName = &name }
	}
	claims := func(name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "x", ResourceClaimName: &name}}
		}
	}
	no := false
	waiting := []struct {
		name         string
		edit         func(*corev1.Pod)
		reason, text string
	}{
		{"handler", class("sandboxed"), "FailedCreatePodSandBox", `no runtime for "runsc" is configured`},
		{"class", class("nobody"), "FailedCreatePodSandBox", `"nobody" not found`},
		{"users", func(p *corev1.Pod) {
			p.Spec.HostUsers = &no
			p.Spec.Volumes = []corev1.Volume{{Name: "pages", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "pages"}}}}
		}, "FailedCreatePodSandBox", "can't set `spec.hostUsers: false`"},
		{"claim", claims("free"), reasonPrepareResources, "resource claim default/free is not allocated"},
		{"reserved", claims("other"), reasonPrepareResources, "is not allowed to use resource claim"},
		{"driver", claims("gpu"), reasonPrepareResources, "DRA driver gpu.example.com is not registered"},
		{"template", func(p *corev1.Pod) {
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "x", ResourceClaimTemplateName: new(string)}}
		}, reasonPrepareResources, "has not been made yet"},
	}
	for _, w := range waiting {
		r.create(testPod(w.name, w.edit))
	}
	r.create(testPod("ordinary", class("ordinary")))
	r.create(testPod("no-device", claims("none")))
	for _, w := range waiting {
		r.warned(w.name, w.reason, w.text)
	}
	r.running("ordinary")
	r.running("no-device")
	for _, w := range waiting {
		if p := r.pod(w.name); p.Status.Phase != corev1.PodPending && p.Status.Phase != "" {
			t.Errorf("%s is %s", w.name, p.Status.Phase)
		}
	}
	if n := len(r.rt.List()); n != 2 {
		t.Errorf("%d sandboxes", n)
	}
}

// TestRejectedStatus: a rejected pod says nothing of containers, so that kubectl shows why; also after a restart of the daemon.
func TestRejectedStatus(t *testing.T) {
	r := newRig(t, fakeServer())
	r.start()
	r.create(testPod("windows", func(p *corev1.Pod) {
		p.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	}))
	rejected := func() {
		t.Helper()
		r.eventually("windows is rejected", func() (bool, any) {
			s := r.pod("windows").Status
			return s.Phase == corev1.PodFailed && s.Reason == "PodOSNotSupported", s
		})
		s := r.pod("windows").Status
		if s.Message != "Pod was rejected: Failed to admit pod as the OS field doesn't match node OS" || len(s.ContainerStatuses)+len(s.InitContainerStatuses) > 0 || len(s.Conditions) != 1 || s.StartTime == nil {
			t.Errorf("%+v", s)
		}
	}
	rejected()
	r.warned("windows", "PodOSNotSupported", "Failed to admit pod")
	r.stop()
	r.start()
	r.create(testPod("web", nil))
	r.running("web")
	rejected()
}

// TestCriticalTakesRoom: a critical pod starts when what it pushed out has ended, and not before.
func TestCriticalTakesRoom(t *testing.T) {
	r := newRig(t, fakeServer())
	r.start()
	cpus := r.k.node.machine.cpus * 1000
	sized := func(name string, milli, priority int64) *corev1.Pod {
		return testPod(name, func(p *corev1.Pod) {
			p.UID = types.UID("uid-" + name)
			n := int32(priority)
			p.Spec.Priority = &n
			p.Spec.Containers[0].Name = name
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}
		})
	}
	r.create(sized("ordinary", cpus-100, 0))
	r.running("ordinary")
	r.create(sized("vital", cpus/2, 2_000_000_000))
	r.running("vital")
	s := r.pod("ordinary").Status
	if s.Phase != corev1.PodFailed || s.Reason != "Preempting" || condition(r.pod("ordinary"), corev1.DisruptionTarget) != corev1.ConditionTrue {
		r.eventually("the other has failed", func() (bool, any) {
			s = r.pod("ordinary").Status
			return s.Phase == corev1.PodFailed && s.Reason == "Preempting", s
		})
	}
	r.warned("ordinary", "Preempting", "Preempted in order to admit critical pod")
	r.create(sized("monster", cpus*5, 2_000_000_000))
	r.eventually("too much for the node", func() (bool, any) {
		s := r.pod("monster").Status
		return s.Phase == corev1.PodFailed && s.Reason == "UnexpectedAdmissionError", s
	})
	if p := r.pod("vital"); p.Status.Phase != corev1.PodRunning {
		t.Errorf("vital is %s", p.Status.Phase)
	}
}

func TestUserNamespace(t *testing.T) {
	pod := testPod("a", func(p *corev1.Pod) { p.Spec.HostUsers = new(bool) })
	for release, want := range map[string]string{"6.5.0-rc1": "", "6.18.44-generic": "", "7.0": "", "6.4.16": "need Linux 6.5 or later and this is 6.4.16", "5.15.0": "need Linux", "odd": "need Linux"} {
		err := userNamespace(pod, release)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", release, err)
		}
	}
	if err := userNamespace(&corev1.Pod{}, "4.19"); err != nil {
		t.Error(err)
	}
	w := &worker{k: &Kubelet{}, uid: "u"}
	if s := w.sandboxSpec(pod, 0); !s.UserNamespace {
		t.Errorf("%+v", s)
	}
}

func TestPassable(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	dir := filepath.Join(top, "dir")
	if err := os.MkdirAll(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(top, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := passable(dir); err == nil || !strings.Contains(err.Error(), "the folder "+top+" is") {
		t.Error(err)
	}
	if err := passable("/usr/bin"); err != nil {
		t.Error(err)
	}
}
