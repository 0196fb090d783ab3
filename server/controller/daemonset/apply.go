package daemonset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
	"codeberg.org/skiff/skiff/server/controller/internal/revision"
)

const (
	hashLabel = appsv1.DefaultDaemonSetUniqueLabelKey
	// generationLabel is on pods since before there were revisions.
	generationLabel = "pod-template-generation"
	// burst is how many pods one reconciliation creates or deletes at most.
	burst = 250
)

func parentOf(ds *appsv1.DaemonSet) revision.Parent {
	return revision.Parent{Object: ds, GVK: gvk, Template: &ds.Spec.Template, HashLabel: hashLabel, Collisions: ds.Status.CollisionCount}
}

// apply carries the plan out. again tells that what was written decides anew, so that there is nothing to report yet.
func (l *loop) apply(ctx context.Context, c *client.Client, h have, p plan) (again bool, err error) {
	if p.claim {
		return true, errors.Join(h.pods.Apply(ctx, c, h.ds, gvk), h.revisions.Apply(ctx, c, h.ds, gvk))
	}
	switch err := p.revision.Apply(ctx, c); {
	case errors.Is(err, revision.ErrCollision):
		return true, countCollision(ctx, c, h.ds)
	case errors.Is(err, revision.ErrLeaving):
		return true, nil
	case err != nil:
		return true, err
	}
	for _, pod := range p.relabel {
		_, err := client.Change(ctx, c, pod, "", func(next *corev1.Pod) { next.Labels[hashLabel] = p.hash() })
		if controller.IgnoreGone(err) != nil {
			return true, fmt.Errorf("relabel pod %s: %w", pod.Name, err)
		}
	}
	l.tell(c, h.ds, p)
	// Deleting comes second: what is created does not wait for what goes.
	create := p.create[:min(len(p.create), burst)]
	err = replica.SlowStart(len(create), func(i int) error { return makePod(ctx, c, h.ds, p.hash(), create[i]) })
	remove := p.remove[:min(len(p.remove), burst)]
	err = errors.Join(err, replica.Parallel(len(remove), func(i int) error { return deletePod(ctx, c, h.ds, remove[i]) }))
	return false, errors.Join(err, revision.Remove(ctx, c, p.drop))
}

func countCollision(ctx context.Context, c *client.Client, ds *appsv1.DaemonSet) error {
	_, err := client.Change(ctx, c, ds, "status", func(next *appsv1.DaemonSet) {
		n := int32(1)
		if next.Status.CollisionCount != nil {
			n = *next.Status.CollisionCount + 1
		}
		next.Status.CollisionCount = &n
	})
	return controller.IgnoreGone(err)
}

// podFor makes the pod of a DaemonSet for a node.
func podFor(ds *appsv1.DaemonSet, hash, node string) *corev1.Pod {
	pod := replica.PodOf(&ds.Spec.Template, ds, *metav1.NewControllerRef(ds, gvk))
	pod.Labels = maps.Clone(pod.Labels)
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[hashLabel] = hash
	if g, err := strconv.ParseInt(ds.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64); err == nil {
		pod.Labels[generationLabel] = strconv.FormatInt(g, 10)
	}
	pod.Spec.Tolerations = tolerations(&pod.Spec)
	pod.Spec.Affinity = onNode(pod.Spec.Affinity, node)
	return pod
}

func makePod(ctx context.Context, c *client.Client, ds *appsv1.DaemonSet, hash, node string) error {
	pod, err := c.Create(ctx, podFor(ds, hash, node))
	switch {
	case err == nil:
		c.Event(ds, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", pod.GetName())
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	}
	c.Event(ds, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
	return fmt.Errorf("create the pod for node %s: %w", node, err)
}

func deletePod(ctx context.Context, c *client.Client, ds *appsv1.DaemonSet, pod *corev1.Pod) error {
	if err := c.DeleteNow(ctx, pod); err != nil {
		c.Event(ds, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	c.Event(ds, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
	return nil
}

// tell says which pods ended by themselves, and counts those that failed.
func (l *loop) tell(c *client.Client, ds *appsv1.DaemonSet, p plan) {
	for _, pod := range p.ended {
		if pod.Status.Phase == corev1.PodSucceeded {
			c.Event(ds, corev1.EventTypeNormal, "SucceededDaemonPod", "Found succeeded daemon pod %s/%s on node %s, will try to delete it", pod.Namespace, pod.Name, targetOf(pod))
			continue
		}
		c.Event(ds, corev1.EventTypeWarning, "FailedDaemonPod", "Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, targetOf(pod))
		l.failed(ds, targetOf(pod))
	}
}

// place is one node of one DaemonSet.
type place struct {
	ds   types.UID
	node string
}

// failure is how a place's pods have failed of late.
type failure struct {
	at   time.Time
	wait time.Duration
}

// Back-off of failed pods, doubled from the first to the last; forgotten after twice the last.
const (
	firstWait = time.Second
	lastWait  = 15 * time.Minute
)

func (l *loop) wait(ds *appsv1.DaemonSet, node string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, ok := l.failures[place{ds.UID, node}]
	if !ok {
		return 0
	}
	return max(0, f.at.Add(f.wait).Sub(l.now()))
}

func (l *loop) failed(ds *appsv1.DaemonSet, node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, key := l.now(), place{ds.UID, node}
	maps.DeleteFunc(l.failures, func(_ place, f failure) bool { return now.Sub(f.at) > 2*lastWait })
	f := l.failures[key]
	l.failures[key] = failure{now, min(max(2*f.wait, firstWait), lastWait)}
}
