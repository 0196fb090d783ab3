// Package nodettl tells kubelets, by an annotation of their nodes, for how long what they have read of Secrets and ConfigMaps may be used:
// the more nodes, the longer. Kubelets of skiff watch and do not need it; others, and tools, look at it.
package nodettl

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// step is a size of clusters and its time. Neighbours overlap, so that a node that comes and goes does not change all of them.
type step struct {
	min, max int
	ttl      time.Duration
}

// steps are upstream's.
var steps = []step{
	{0, 100, 0}, {90, 500, 15 * time.Second}, {450, 1000, 30 * time.Second}, {900, 2000, time.Minute}, {1800, 10000, 5 * time.Minute}, {9000, 1 << 30, 10 * time.Minute},
}

// New returns the controller; its keys are nodes.
func New() controller.Controller {
	var at atomic.Int32 // the step
	return controller.Controller{
		Name: "ttl-controller",
		Inputs: []controller.Input{{Kind: &corev1.Node{}, Keys: func(s client.Snapshot, e *store.Event) []string {
			old := int(at.Load())
			now := stepFor(s.Count(s.Catalogue().ByObject(&corev1.Node{}), ""), old)
			at.Store(int32(now))
			if now == old {
				return []string{e.Object.GetName()}
			}
			var all []string
			for node := range client.List[*corev1.Node](s, "") {
				all = append(all, node.Name)
			}
			return all
		}}},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			node, ok := client.Get[*corev1.Node](c.Snapshot(), "", key)
			if !ok {
				return controller.Result{}, nil
			}
			p := decide(node, int(at.Load()))
			if p.ttl == "" {
				return controller.Result{}, nil
			}
			_, err := client.Change(ctx, c, node, "", func(next *corev1.Node) {
				if next.Annotations == nil {
					next.Annotations = map[string]string{}
				}
				next.Annotations[corev1.ObjectTTLAnnotationKey] = p.ttl
			})
			return controller.Result{}, controller.IgnoreGone(err)
		},
	}
}

// stepFor moves from a step to the one that fits a number of nodes.
func stepFor(nodes, at int) int {
	for at < len(steps)-1 && nodes > steps[at].max {
		at++
	}
	for at > 0 && nodes < steps[at].min {
		at--
	}
	return at
}

// plan is the annotation's new value, in seconds; "" if it is right.
type plan struct{ ttl string }

func (p plan) String() string {
	if p.ttl == "" {
		return ""
	}
	return fmt.Sprintf("annotate %s=%s\n", corev1.ObjectTTLAnnotationKey, p.ttl)
}

func decide(node *corev1.Node, at int) plan {
	want := strconv.Itoa(int(steps[at].ttl / time.Second))
	if have, ok := node.Annotations[corev1.ObjectTTLAnnotationKey]; ok && have == want {
		return plan{}
	}
	return plan{ttl: want}
}
