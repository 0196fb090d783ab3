package controllertest

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
)

// Node creates a node that is ready.
func (w *World) Node(name string) *corev1.Node {
	w.T.Helper()
	node := Create(w, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
	return Mutate(w, node, "status", func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(w.Now()), LastTransitionTime: metav1.NewTime(w.Now())}}
	})
}

// Bind puts a pod on a node.
func (w *World) Bind(pod *corev1.Pod, node string) {
	w.T.Helper()
	req := w.Request(pod)
	req.Subresource = "binding"
	if _, err := w.Registry.Create(w.Ctx, req, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}); err != nil {
		w.T.Fatalf("bind %s: %v", pod.Name, err)
	}
}

// Run makes every pod that has not begun run, and be ready.
func (w *World) Run() {
	w.T.Helper()
	for pod := range client.List[*corev1.Pod](w.Client.Snapshot(), "") {
		if pod.Status.Phase == corev1.PodPending && pod.DeletionTimestamp == nil {
			w.Ready(pod, true)
		}
	}
}

var addresses int

// Ready makes a pod run with an address, ready or not. It is nothing to a pod that has just gone.
func (w *World) Ready(pod *corev1.Pod, ready bool) {
	w.T.Helper()
	if !Exists(w, pod) {
		return
	}
	Mutate(w, pod, "status", func(p *corev1.Pod) {
		status := corev1.ConditionFalse
		if ready {
			status = corev1.ConditionTrue
		}
		p.Status.Phase = corev1.PodRunning
		if p.Status.PodIP == "" {
			addresses++
			p.Status.PodIP = fmt.Sprintf("10.42.%d.%d", addresses/250, addresses%250+1)
			p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
		}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(w.Now())}}
	})
}

// Finish ends a pod with an exit code, and conditions if there are any.
func (w *World) Finish(pod *corev1.Pod, code int32, conditions ...corev1.PodCondition) {
	w.T.Helper()
	Mutate(w, pod, "status", func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodSucceeded
		if code != 0 {
			p.Status.Phase = corev1.PodFailed
		}
		p.Status.Conditions = conditions
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: p.Spec.Containers[0].Name, State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, FinishedAt: metav1.NewTime(w.Now())}}}}
	})
}

// Reap ends the deletion of every bound pod whose grace period runs, as a kubelet does.
func (w *World) Reap() {
	w.T.Helper()
	zero := int64(0)
	for pod := range client.List[*corev1.Pod](w.Client.Snapshot(), "") {
		if pod.DeletionTimestamp != nil {
			_, _, _ = w.Registry.Delete(w.Ctx, w.Request(pod), &metav1.DeleteOptions{GracePeriodSeconds: &zero})
		}
	}
}

// Delete deletes what obj names with a propagation policy ("": none given).
func (w *World) Delete(obj api.Object, policy metav1.DeletionPropagation) {
	w.T.Helper()
	opts := &metav1.DeleteOptions{}
	if policy != "" {
		opts.PropagationPolicy = &policy
	}
	w.Env.Delete(obj, opts)
}

// Template is a small pod template with a label app.
func Template(app string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "image:1"}}}}
}
