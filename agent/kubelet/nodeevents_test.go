package kubelet

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestConditionEvents(t *testing.T) {
	c := func(pairs ...string) (out []corev1.NodeCondition) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, corev1.NodeCondition{Type: corev1.NodeConditionType(pairs[i]), Status: corev1.ConditionStatus(pairs[i+1])})
		}
		return out
	}
	for _, x := range []struct {
		before, now []corev1.NodeCondition
		want        string
	}{
		{nil, c("MemoryPressure", "False", "DiskPressure", "False", "PIDPressure", "False", "Ready", "False"), "NodeHasSufficientMemory NodeHasNoDiskPressure NodeHasSufficientPID NodeNotReady"},
		{c("Ready", "False"), c("Ready", "True"), "NodeReady"},
		{c("Ready", "Unknown"), c("Ready", "True"), "NodeReady"}, // it was silent
		{c("Ready", "True"), c("Ready", "True"), ""},
		{c("DiskPressure", "False", "PIDPressure", "False"), c("DiskPressure", "True", "PIDPressure", "True"), "NodeHasDiskPressure NodeHasInsufficientPID"},
	} {
		if got := strings.Join(conditionEvents(x.before, x.now), " "); got != x.want {
			t.Errorf("%v → %v: %q, want %q", x.before, x.now, got, x.want)
		}
	}
}

// reasons of the events about an object's kind.
func reasons(client kubernetes.Interface, kind string) (out []string) {
	list, _ := client.CoreV1().Events("").List(context.Background(), metav1.ListOptions{})
	for i := range list.Items {
		if list.Items[i].InvolvedObject.Kind == kind {
			out = append(out, list.Items[i].Reason)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestEventsOfANode restarts a node on a machine that has booted again, and closes it.
func TestEventsOfANode(t *testing.T) {
	r := newRig(t, fakeServer())
	if _, err := r.client.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"},
		Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{BootID: "another"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.eventually("the node's conditions", func() (bool, any) {
		got := reasons(r.client, "Node")
		for _, want := range []string{"Starting", "Rebooted", "NodeReady", "NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID", "NodeAllocatableEnforced"} {
			if !slices.Contains(got, want) {
				return false, got
			}
		}
		return true, got
	})
	r.eventually("the node is closed", func() (bool, any) {
		n, err := r.client.CoreV1().Nodes().Get(t.Context(), "n1", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		n.Spec.Unschedulable = true
		_, err = r.client.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{})
		return err == nil, err
	})
	r.eventually("it is told", func() (bool, any) {
		got := reasons(r.client, "Node")
		return slices.Contains(got, "NodeNotSchedulable"), got
	})
}

func TestEventOfADeadline(t *testing.T) {
	r := newRig(t, fakeServer())
	r.start()
	r.create(testPod("late", func(p *corev1.Pod) {
		p.Spec.ActiveDeadlineSeconds = new(int64(1))
		at := metav1.NewTime(time.Now().Add(-time.Hour))
		p.Status.StartTime = &at
	}))
	r.eventually("the deadline is told", func() (bool, any) {
		got := reasons(r.client, "Pod")
		return slices.Contains(got, "DeadlineExceeded"), got
	})
}
