package client

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/api"
)

// Migrate brings the objects of a kind that were last written at revision upTo or before to the form in which they would
// be stored now, and returns how many it looked at. What is in that form already is not written.
func (c *Client) Migrate(ctx context.Context, kind *api.Kind, upTo int64) (looked int, err error) {
	if _, err := c.request(ctx, "patch", kind.Hub().New(), ""); err != nil {
		return 0, err
	}
	if kind.Convert == nil {
		return c.store.Migrate(ctx, kind, upTo)
	}
	// These are converted on their way, as by any update that changes nothing.
	for obj := range c.Snapshot().Snapshot.List(kind, "", "") {
		if err := ctx.Err(); err != nil {
			return looked, err
		}
		if looked++; Revision(obj) > upTo {
			continue
		}
		_, err := c.Mutate(ctx, obj, "", func(api.Object) error { return nil })
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return looked, err
		}
	}
	return looked, nil
}
