package statefulset

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
	"codeberg.org/skiff/skiff/server/controller/internal/revision"
)

// burst is how many pods one reconciliation creates or deletes at most.
const burst = 500

func parentOf(set *appsv1.StatefulSet) revision.Parent {
	return revision.Parent{Object: set, GVK: gvk, Template: &set.Spec.Template, HashLabel: "controller.kubernetes.io/hash", Collisions: set.Status.CollisionCount}
}

// apply carries the plan out. again tells that what was written decides anew, so that there is nothing to report yet.
func apply(ctx context.Context, c *client.Client, h have, p plan) (again bool, err error) {
	if p.claim {
		return true, errors.Join(h.pods.Apply(ctx, c, h.set, gvk), h.revisions.Apply(ctx, c, h.set, gvk))
	}
	if p.revision.Current != nil {
		switch err := p.revision.Apply(ctx, c); {
		case errors.Is(err, revision.ErrCollision):
			return true, countCollision(ctx, c, h.set)
		case errors.Is(err, revision.ErrLeaving):
			return true, nil
		case err != nil:
			return true, err
		}
	}
	if err := mend(ctx, c, h.set, p); err != nil {
		return false, err
	}
	create := p.create[:min(len(p.create), burst)]
	err = replica.SlowStart(len(create), func(i int) error { return makePod(ctx, c, h.set, create[i]) })
	remove := p.remove[:min(len(p.remove), burst)]
	err = errors.Join(err, replica.Parallel(len(remove), func(i int) error { return deletePod(ctx, c, h.set, remove[i]) }))
	return false, errors.Join(err, revision.Remove(ctx, c, p.drop))
}

// mend writes what exists and is not as it should be.
func mend(ctx context.Context, c *client.Client, set *appsv1.StatefulSet, p plan) error {
	for _, o := range p.owners {
		_, err := client.Change(ctx, c, o.claim, "", func(next *corev1.PersistentVolumeClaim) { next.OwnerReferences = o.refs })
		if controller.IgnoreGone(err) != nil {
			return fmt.Errorf("claim %s: write its owners: %w", o.claim.Name, err)
		}
	}
	for _, claim := range p.claims {
		if err := makeClaim(ctx, c, set, claim); err != nil {
			return err
		}
	}
	for _, pod := range p.identify {
		_, err := client.Change(ctx, c, pod, "", func(next *corev1.Pod) { identify(next, ordinalOf(set.Name, next)) })
		if controller.IgnoreGone(err) != nil {
			return tell(c, set, "Update", "Pod "+pod.Name, err)
		}
	}
	return nil
}

func countCollision(ctx context.Context, c *client.Client, set *appsv1.StatefulSet) error {
	_, err := client.Change(ctx, c, set, "status", func(next *appsv1.StatefulSet) {
		n := int32(1)
		if next.Status.CollisionCount != nil {
			n = *next.Status.CollisionCount + 1
		}
		next.Status.CollisionCount = &n
	})
	return controller.IgnoreGone(err)
}

func makePod(ctx context.Context, c *client.Client, set *appsv1.StatefulSet, n newPod) error {
	for _, claim := range n.claims {
		if err := makeClaim(ctx, c, set, claim); err != nil {
			return err
		}
	}
	_, err := c.Create(ctx, n.pod)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	if apierrors.IsAlreadyExists(err) { // of another owner: when it goes, the back-off of this key tries again
		return fmt.Errorf("create pod %s: %w", n.pod.Name, err)
	}
	return tell(c, set, "Create", "Pod "+n.pod.Name, err)
}

func makeClaim(ctx context.Context, c *client.Client, set *appsv1.StatefulSet, claim *corev1.PersistentVolumeClaim) error {
	_, err := c.Create(ctx, claim)
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return tell(c, set, "Create", "Claim "+claim.Name, err)
}

func deletePod(ctx context.Context, c *client.Client, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	return tell(c, set, "Delete", "Pod "+pod.Name, c.DeleteNow(ctx, pod))
}

// tell records how an action on something of the set went, and returns its error with what was being done.
func tell(c *client.Client, set *appsv1.StatefulSet, verb, what string, err error) error {
	if err == nil {
		c.Event(set, corev1.EventTypeNormal, "Successful"+verb, "%s %s in StatefulSet %s successful", verb, what, set.Name)
		return nil
	}
	c.Event(set, corev1.EventTypeWarning, "Failed"+verb, "%s %s in StatefulSet %s failed error: %v", verb, what, set.Name, err)
	return fmt.Errorf("%s %s: %w", verb, what, err)
}
