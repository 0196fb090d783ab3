package nodettl

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStepsHaveHysteresis(t *testing.T) {
	at := 0
	for _, c := range []struct{ nodes, want int }{{1, 0}, {100, 0}, {101, 1}, {95, 1}, {90, 1}, {89, 0}, {700, 2}, {2500, 4}, {20000, 5}, {8999, 4}, {0, 0}} {
		if at = stepFor(c.nodes, at); at != c.want {
			t.Fatalf("%d nodes: step %d; want %d", c.nodes, at, c.want)
		}
	}
}

func TestDecide(t *testing.T) {
	node := &corev1.Node{}
	for _, c := range []struct {
		have string
		at   int
		want string
	}{{"", 0, "annotate node.alpha.kubernetes.io/ttl=0\n"}, {"0", 0, ""}, {"0", 1, "annotate node.alpha.kubernetes.io/ttl=15\n"}, {"soon", 4, "annotate node.alpha.kubernetes.io/ttl=300\n"}} {
		node.ObjectMeta = metav1.ObjectMeta{}
		if c.have != "" {
			node.Annotations = map[string]string{corev1.ObjectTTLAnnotationKey: c.have}
		}
		if got := decide(node, c.at).String(); got != c.want {
			t.Errorf("%q at step %d: %q; want %q", c.have, c.at, got, c.want)
		}
	}
}
