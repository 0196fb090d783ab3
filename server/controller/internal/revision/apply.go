package revision

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
)

// ErrCollision says that the name of a new revision is another one's: the parent has to count it in status.collisionCount and decide anew.
var ErrCollision = errors.New("the hash of the template is another revision's")

// ErrLeaving says that the parent's namespace is being deleted, so that no revision can be made.
var ErrLeaving = errors.New("the namespace is being deleted")

// Apply stores the current revision and removes its doubles.
func (p Plan) Apply(ctx context.Context, c *client.Client) error {
	switch {
	case p.Create:
		if err := p.create(ctx, c); err != nil {
			return err
		}
	case p.Renumber:
		number := p.Current.Revision
		if _, err := client.Change(ctx, c, p.Current, "", func(r *appsv1.ControllerRevision) { r.Revision = number }); err != nil {
			return fmt.Errorf("number controller revision %s: %w", p.Current.Name, err)
		}
	}
	return Remove(ctx, c, p.Doubles)
}

func (p Plan) create(ctx context.Context, c *client.Client) error {
	_, err := c.Create(ctx, p.Current)
	switch {
	case err == nil:
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return ErrLeaving
	case !apierrors.IsAlreadyExists(err):
		return fmt.Errorf("create controller revision %s: %w", p.Current.Name, err)
	}
	have, ok := client.Get[*appsv1.ControllerRevision](c.Snapshot(), p.Current.Namespace, p.Current.Name)
	ref, ours := metav1.GetControllerOf(p.Current), (*metav1.OwnerReference)(nil)
	if ok {
		ours = metav1.GetControllerOf(have)
	}
	if ours != nil && ours.UID == ref.UID && equal(have.Data.Raw, p.Current.Data.Raw) {
		return nil
	}
	return ErrCollision
}

// Remove deletes revisions.
func Remove(ctx context.Context, c *client.Client, revisions []*appsv1.ControllerRevision) error {
	for _, r := range revisions {
		if err := c.DeleteNow(ctx, r); controller.IgnoreGone(err) != nil {
			return fmt.Errorf("delete controller revision %s: %w", r.Name, err)
		}
	}
	return nil
}
