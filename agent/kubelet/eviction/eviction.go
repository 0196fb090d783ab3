// Package eviction decides which pod goes when a node runs short. It is pure.
package eviction

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Pod that could go.
type Pod struct {
	Pod *corev1.Pod
	// Critical pods stay.
	Critical bool
	Priority int32
	// Usage and Request of the resource that is short, in bytes, inodes or processes.
	Usage, Request int64
}

// Shortage of a resource.
type Shortage struct {
	Signal               Signal
	Resource             corev1.ResourceName
	Threshold, Available int64
	// Soft: pods are given time to end.
	Soft bool
}

// Victim returns the pod to evict: first those that use more than they asked for, then the lowest priority, then the
// largest excess. ok is false when there is none.
func Victim(pods []Pod) (v Pod, ok bool) {
	pods = slices.DeleteFunc(slices.Clone(pods), func(p Pod) bool { return p.Critical })
	if len(pods) == 0 {
		return Pod{}, false
	}
	over := func(p Pod) int {
		if p.Usage > p.Request {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(pods, func(a, b Pod) int {
		return cmp.Or(over(a)-over(b), cmp.Compare(a.Priority, b.Priority), cmp.Compare(b.Usage-b.Request, a.Usage-a.Request))
	})
	return pods[0], true
}

// Message that the evicted pod's status and event carry.
func Message(s Shortage, v Pod) string {
	q := func(n int64) string { return resource.NewQuantity(n, resource.BinarySI).String() }
	msg := fmt.Sprintf("The node was low on resource: %s. Threshold quantity: %s, available: %s. ", s.Resource, q(s.Threshold), q(s.Available))
	if v.Usage > v.Request {
		msg += fmt.Sprintf("Pod %s was using %s, request is %s, has larger consumption of %s. ", v.Pod.Name, q(v.Usage), q(v.Request), s.Resource)
	}
	return msg
}
