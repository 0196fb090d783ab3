package registry

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// TestStoreErrors: only what may be sent again as it is says when to do so; clients do it by themselves.
func TestStoreErrors(t *testing.T) {
	kind := &api.Kind{Kind: "Pod", Plural: "pods"}
	for _, c := range []struct {
		err     error
		code    int32
		seconds int32
	}{
		{store.ErrUnavailable, 503, 1},
		{store.ErrOutcomeUnknown, 504, 0},
		{fmt.Errorf("%w: %w", store.ErrOutcomeUnknown, store.ErrUnavailable), 504, 0},
		{store.ErrFull, 507, 0},
	} {
		var status apierrors.APIStatus
		if err := statusError(kind, "create", "a", fmt.Errorf("create Pod a: %w", c.err)); !errors.As(err, &status) {
			t.Fatalf("%v: no status", err)
		}
		if s := status.Status(); s.Code != c.code || s.Details.RetryAfterSeconds != c.seconds {
			t.Errorf("%v: %d, again after %d s, want %d, %d", c.err, s.Code, s.Details.RetryAfterSeconds, c.code, c.seconds)
		}
	}
}
