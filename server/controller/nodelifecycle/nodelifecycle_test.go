package nodelifecycle_test

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/nodelifecycle"
	"codeberg.org/skiff/skiff/server/controller/podgc"
	"codeberg.org/skiff/skiff/server/controller/tainteviction"
)

func start(t *testing.T) *World {
	w := Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{nodelifecycle.New(nodelifecycle.Config{Now: now}), tainteviction.New(now), podgc.New(now, 0)}
	})
	Create(w, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: corev1.NamespaceNodeLease}})
	return w
}

func heartbeat(w *World, name string) {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}}
	at := metav1.NewMicroTime(w.Now())
	if !Exists(w, lease) {
		Create(w, lease)
	}
	Mutate(w, lease, "", func(l *coordinationv1.Lease) { l.Spec.RenewTime = &at })
}

func status(w *World, node *corev1.Node) (ready corev1.ConditionStatus, effects map[corev1.TaintEffect]int) {
	n := Get(w, node)
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			ready = c.Status
		}
	}
	effects = map[corev1.TaintEffect]int{}
	for _, t := range n.Spec.Taints {
		if t.Key == corev1.TaintNodeUnreachable {
			effects[t.Effect]++
		}
	}
	return ready, effects
}

func podOn(w *World, name, node string) *corev1.Pod {
	pod := Create(w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name}, Spec: Template("x").Spec})
	w.Bind(pod, node)
	w.Ready(pod, true)
	return pod
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func TestASilentNodeLosesItsPods(t *testing.T) {
	w := start(t)
	a, b := w.Node("a"), w.Node("b")
	heartbeat(w, "a")
	heartbeat(w, "b")
	pod := podOn(w, "p", "a")
	w.Settle()
	for range 3 { // b goes on
		w.Advance(20 * time.Second)
		heartbeat(w, "b")
		w.Settle()
	}
	if ready, taints := status(w, a); ready != corev1.ConditionUnknown || taints[corev1.TaintEffectNoExecute] != 1 || taints[corev1.TaintEffectNoSchedule] != 1 {
		t.Errorf("a is %s with %v", ready, taints)
	}
	if ready, taints := status(w, b); ready != corev1.ConditionTrue || len(taints) != 0 {
		t.Errorf("b is %s with %v", ready, taints)
	}
	if isReady(Get(w, pod)) || Get(w, pod).DeletionTimestamp != nil {
		t.Errorf("pod %+v", Get(w, pod).Status)
	}
	w.Idle()
	for range 16 { // the default toleration of 300 s
		w.Advance(20 * time.Second)
		heartbeat(w, "b")
		w.Settle()
	}
	if got := Get(w, pod); got.DeletionTimestamp == nil || got.Status.Conditions[len(got.Status.Conditions)-1].Reason != "DeletionByTaintManager" {
		t.Errorf("the pod stays: %+v", got.Status)
	}
	w.Idle()
	// The node comes back.
	heartbeat(w, "a")
	Mutate(w, a, "status", func(n *corev1.Node) {
		for i := range n.Status.Conditions {
			if n.Status.Conditions[i].Type == corev1.NodeReady {
				n.Status.Conditions[i].Status, n.Status.Conditions[i].LastHeartbeatTime = corev1.ConditionTrue, metav1.NewTime(w.Now())
			}
		}
	})
	w.Settle()
	if ready, taints := status(w, a); ready != corev1.ConditionTrue || len(taints) != 0 {
		t.Errorf("a is %s with %v after it came back", ready, taints)
	}
	w.Idle()
}

func TestWhenAllAreSilentNobodyIsEvicted(t *testing.T) {
	w := start(t)
	a, b := w.Node("a"), w.Node("b")
	pod := podOn(w, "p", "a")
	w.Settle()
	w.Advance(time.Minute)
	w.Settle()
	w.Advance(time.Hour)
	w.Settle()
	for _, node := range []*corev1.Node{a, b} {
		if ready, taints := status(w, node); ready != corev1.ConditionUnknown || taints[corev1.TaintEffectNoExecute] != 0 || taints[corev1.TaintEffectNoSchedule] != 1 {
			t.Errorf("%s is %s with %v", node.Name, ready, taints)
		}
	}
	if Get(w, pod).DeletionTimestamp != nil {
		t.Error("the pod is evicted, though it may be the server that is cut off")
	}
	w.Idle()
}

// Three of four nodes fall silent at once: a switch has failed, and nobody is driven away. When only one is left silent, it loses its pods.
func TestAFailedSwitchEvictsNobody(t *testing.T) {
	w := start(t)
	names := []string{"a", "b", "c", "d"}
	var nodes []*corev1.Node
	for _, name := range names {
		nodes = append(nodes, w.Node(name))
		heartbeat(w, name)
	}
	w.Settle()
	live := func(d time.Duration, alive ...string) {
		for range int(d / (20 * time.Second)) {
			w.Advance(20 * time.Second)
			for _, name := range alive {
				heartbeat(w, name)
			}
			w.Settle()
		}
	}
	evicted := func() (names []string) {
		for _, node := range nodes {
			if _, taints := status(w, node); taints[corev1.TaintEffectNoExecute] > 0 {
				names = append(names, node.Name)
			}
		}
		return names
	}
	live(10*time.Minute, "d")
	for _, node := range nodes[:3] {
		if ready, taints := status(w, node); ready != corev1.ConditionUnknown || taints[corev1.TaintEffectNoSchedule] != 1 {
			t.Errorf("%s is %s with %v", node.Name, ready, taints)
		}
	}
	if got := evicted(); len(got) != 0 {
		t.Errorf("%v lose their pods", got)
	}
	w.Idle()
	for _, node := range nodes[1:3] { // the kubelets of b and c are back
		heartbeat(w, node.Name)
		Mutate(w, node, "status", func(n *corev1.Node) {
			for i := range n.Status.Conditions {
				if n.Status.Conditions[i].Type == corev1.NodeReady {
					n.Status.Conditions[i].Status, n.Status.Conditions[i].LastHeartbeatTime = corev1.ConditionTrue, metav1.NewTime(w.Now())
				}
			}
		})
	}
	live(40*time.Second, "b", "c", "d")
	if got := evicted(); len(got) != 1 || got[0] != "a" {
		t.Errorf("%v lose their pods; want a alone", got)
	}
	w.Idle()
}

func TestATaintWithoutATimeEvictsInTime(t *testing.T) {
	w := start(t)
	node := w.Node("a")
	seconds := int64(60)
	pod := Create(w, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: "p"}, Spec: Template("x").Spec})
	Mutate(w, pod, "", func(p *corev1.Pod) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: "k", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
	})
	w.Bind(pod, "a")
	Mutate(w, node, "", func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "k", Effect: corev1.TaintEffectNoExecute})
	})
	w.Settle()
	for range 2 {
		w.Advance(25 * time.Second)
		heartbeat(w, "a")
		w.Ready(pod, true) // what changes the pod must not begin its time anew
		w.Settle()
	}
	if Get(w, pod).DeletionTimestamp != nil {
		t.Error("evicted too early")
	}
	w.Advance(11 * time.Second)
	w.Settle()
	if Get(w, pod).DeletionTimestamp == nil {
		t.Error("not evicted after its 60 s")
	}
}

func TestPodsOfANodeThatHasGone(t *testing.T) {
	w := start(t)
	node := w.Node("a")
	pod := podOn(w, "p", "a")
	w.Settle()
	w.Delete(node, "")
	w.Settle()
	w.Advance(30 * time.Second)
	w.Settle()
	if !Exists(w, pod) {
		t.Error("the node may come back within 40 s")
	}
	w.Advance(11 * time.Second)
	w.Settle()
	if Exists(w, pod) {
		t.Error("the pod outlives its node")
	}
	w.Idle()
}

func TestOutOfService(t *testing.T) {
	w := start(t)
	node := w.Node("a")
	going, staying := podOn(w, "going", "a"), podOn(w, "staying", "a")
	w.Delete(going, "")
	Mutate(w, node, "status", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse })
	Mutate(w, node, "", func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoSchedule})
	})
	w.Settle()
	if Exists(w, going) || !Exists(w, staying) {
		t.Error("what is being deleted goes at once from a node that is out of service, and nothing else")
	}
}
