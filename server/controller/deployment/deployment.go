// Package deployment rolls out Deployments: it keeps one ReplicaSet for each template a Deployment has had, and moves the replicas
// from the old ones to the newest within maxSurge and maxUnavailable.
//
//	observe   the Deployment, the ReplicaSets it controls or could adopt, their pods: from one snapshot
//	decide    pure: what to adopt, release, create, scale, annotate and delete, and the status (decide.go, rolling.go, status.go)
//	apply     in that order; the ReplicaSets' events wake the next step
package deployment

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/claim"
	"codeberg.org/skiff/skiff/server/store"
)

const ownerIndex = "metadata.ownerReferences.uid"

var gvk = appsv1.SchemeGroupVersion.WithKind("Deployment")

// New returns the controller; its keys are Deployments, "namespace/name".
func New(now func() time.Time) controller.Controller {
	l := &loop{now: now}
	return controller.Controller{
		Name:    "deployment-controller",
		Workers: 8,
		Inputs: []controller.Input{
			{Kind: &appsv1.Deployment{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				return []string{e.Object.GetNamespace() + "/" + e.Object.GetName()}
			}},
			{Kind: &appsv1.ReplicaSet{}, Keys: replicaSetKeys},
			{Kind: &corev1.Pod{}, Keys: podKeys},
		},
		Reconcile: l.reconcile,
	}
}

func replicaSetKeys(s client.Snapshot, e *store.Event) (keys []string) {
	for _, obj := range []api.Object{e.Object, e.Old} {
		if obj == nil {
			continue
		}
		if ref := metav1.GetControllerOf(obj); ref != nil && ref.Kind == gvk.Kind {
			keys = append(keys, obj.GetNamespace()+"/"+ref.Name)
		}
	}
	if metav1.GetControllerOf(e.Object) != nil || e.Type == store.Deleted {
		return keys
	}
	for d := range client.List[*appsv1.Deployment](s, e.Object.GetNamespace()) {
		if selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil && !selector.Empty() && selector.Matches(labels.Set(e.Object.GetLabels())) {
			keys = append(keys, d.Namespace+"/"+d.Name)
		}
	}
	return keys
}

// podKeys: a Deployment that recreates waits for the last old pod to go.
func podKeys(s client.Snapshot, e *store.Event) []string {
	ref := metav1.GetControllerOf(e.Object)
	if e.Type != store.Deleted || ref == nil || ref.Kind != "ReplicaSet" {
		return nil
	}
	rs, ok := client.Get[*appsv1.ReplicaSet](s, e.Object.GetNamespace(), ref.Name)
	if !ok {
		return nil
	}
	if owner := metav1.GetControllerOf(rs); owner != nil && owner.Kind == gvk.Kind {
		return []string{rs.Namespace + "/" + owner.Name}
	}
	return nil
}

type loop struct{ now func() time.Time }

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	d, ok := client.Get[*appsv1.Deployment](snap, namespace, name)
	if !ok {
		return controller.Result{}, nil
	}
	h, err := observe(snap, d)
	if err != nil {
		return controller.Result{}, err
	}
	p := decide(h, metav1.NewTime(l.now()))
	return controller.Result{After: p.after}, apply(ctx, c, d, p, metav1.NewTime(l.now()))
}

// have is a Deployment with its ReplicaSets.
type have struct {
	d *appsv1.Deployment
	// sets it controls; adopt and release are what the selector says should change.
	sets, adopt, release []*appsv1.ReplicaSet
	// running tells which sets have pods that have not finished.
	running map[string]bool // by ReplicaSet name
}

func observe(s client.Snapshot, d *appsv1.Deployment) (have, error) {
	h := have{d: d, running: map[string]bool{}}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return h, fmt.Errorf("deployment %s/%s: %w", d.Namespace, d.Name, err)
	}
	c := claim.Of(d, selector, client.List[*appsv1.ReplicaSet](s, d.Namespace))
	h.sets, h.adopt, h.release = c.Own, c.Adopt, c.Release
	for _, rs := range h.sets {
		for pod := range client.ByIndex[*corev1.Pod](s, ownerIndex, string(rs.UID)) {
			if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				h.running[rs.Name] = true
			}
		}
	}
	return h, nil
}

func apply(ctx context.Context, c *client.Client, d *appsv1.Deployment, p plan, now metav1.Time) error {
	if err := (claim.Claims[*appsv1.ReplicaSet]{Adopt: p.adopt, Release: p.release}).Apply(ctx, c, d, gvk); err != nil {
		return err
	}
	if p.create != nil {
		if err := create(ctx, c, d, p, now); err != nil {
			return err
		}
	}
	for _, u := range p.update {
		if err := update(ctx, c, d, u); err != nil {
			return fmt.Errorf("update replica set %s: %w", u.next.Name, err)
		}
	}
	for _, rs := range p.remove {
		if err := c.DeleteNow(ctx, rs); err != nil {
			return fmt.Errorf("delete replica set %s: %w", rs.Name, err)
		}
	}
	if p.revision != "" && d.Annotations[RevisionAnnotation] != p.revision {
		_, err := c.Mutate(ctx, d, "", func(obj api.Object) error {
			annotations := obj.GetAnnotations()
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[RevisionAnnotation] = p.revision
			obj.SetAnnotations(annotations)
			return nil
		})
		if controller.IgnoreGone(err) != nil {
			return fmt.Errorf("set revision: %w", err)
		}
	}
	return writeStatus(ctx, c, d, p.status)
}

func create(ctx context.Context, c *client.Client, d *appsv1.Deployment, p plan, now metav1.Time) error {
	_, err := c.Create(ctx, p.create)
	switch {
	case err == nil:
		if n := *p.create.Spec.Replicas; n > 0 {
			c.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from 0 to %d", p.create.Name, n)
		}
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	case apierrors.IsAlreadyExists(err): // its name is a hash of the template: another template has the same one
		_, err := c.Mutate(ctx, d, "status", func(obj api.Object) error {
			status, n := &obj.(*appsv1.Deployment).Status, int32(1)
			if status.CollisionCount != nil {
				n = *status.CollisionCount + 1
			}
			status.CollisionCount = &n
			return nil
		})
		return err
	}
	c.Event(d, corev1.EventTypeWarning, "ReplicaSetCreateError", "Failed to create new replica set %q: %v", p.create.Name, err)
	failed := p.status
	setCondition(&failed, condition(appsv1.DeploymentProgressing, corev1.ConditionFalse, "ReplicaSetCreateError", err.Error(), now))
	if e := writeStatus(ctx, c, d, failed); e != nil {
		return e
	}
	return fmt.Errorf("create replica set %s: %w", p.create.Name, err)
}

func update(ctx context.Context, c *client.Client, d *appsv1.Deployment, u change) error {
	if _, err := c.Update(ctx, u.next); err != nil {
		return controller.IgnoreGone(err)
	}
	from, to := *u.old.Spec.Replicas, *u.next.Spec.Replicas
	switch {
	case to > from:
		c.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled up replica set %s from %d to %d", u.next.Name, from, to)
	case to < from:
		c.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled down replica set %s from %d to %d", u.next.Name, from, to)
	}
	return nil
}

func writeStatus(ctx context.Context, c *client.Client, d *appsv1.Deployment, want appsv1.DeploymentStatus) error {
	if equality.Semantic.DeepEqual(want, d.Status) {
		return nil
	}
	_, err := c.Mutate(ctx, d, "status", func(obj api.Object) error {
		next := obj.(*appsv1.Deployment)
		count := next.Status.CollisionCount
		next.Status = want
		next.Status.CollisionCount = count
		return nil
	})
	return controller.IgnoreGone(err)
}
