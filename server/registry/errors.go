package registry

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Status codes of a store that cannot be reached, that did not say whether it has written, and that has no room.
const (
	codeServiceUnavailable  = 503
	codeGatewayTimeout      = 504
	codeInsufficientStorage = 507
)

// reasonInsufficientStorage is HTTP's word for it; Kubernetes has none.
const reasonInsufficientStorage metav1.StatusReason = "InsufficientStorage"

// What the API says in these cases; clients and tests compare the texts.
const (
	textModified   = "the object has been modified; please apply your changes to the latest version and try again"
	textListTooOld = "The resourceVersion for the provided list is too old."
	textTooLarge   = "Too large resource version: %d, current: %d"
)

func notFound(k *api.Kind, name string) error {
	return apierrors.NewNotFound(k.GroupResource(), name)
}

func conflict(k *api.Kind, name, format string, args ...any) error {
	return apierrors.NewConflict(k.GroupResource(), name, fmt.Errorf(format, args...))
}

func modified(k *api.Kind, name string) error { return conflict(k, name, textModified) }

// OtherKind is the answer to a custom object that says it is of another kind than what it was sent to.
func OtherKind(sent schema.GroupVersionKind, name, want string) error {
	return apierrors.NewInvalid(sent.GroupKind(), name, field.ErrorList{field.Invalid(field.NewPath("kind"), sent.Kind, "must be "+want)})
}

// tooLarge is what a caller gets who asks for a revision that has not happened yet: retry in a second.
func tooLarge(asked, current int64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf(textTooLarge, asked, current), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type:    metav1.CauseTypeResourceVersionTooLarge,
		Message: "Too large resource version",
	}}
	return err
}

// statusError turns an error of the store into the Status that a client understands. verb says what was being done.
func statusError(k *api.Kind, verb, name string, err error) error {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return nil
	case errors.As(err, &status):
		return err
	case errors.Is(err, store.ErrNotFound):
		return notFound(k, name)
	case errors.Is(err, store.ErrExists):
		return apierrors.NewAlreadyExists(k.GroupResource(), name)
	case errors.Is(err, store.ErrConflict):
		return modified(k, name)
	case errors.Is(err, store.ErrCompacted):
		return apierrors.NewResourceExpired(textListTooOld)
	case errors.Is(err, store.ErrOutcomeUnknown):
		// No Retry-After: clients would send a create again that has taken effect.
		return failure(k, name, codeGatewayTimeout, metav1.StatusReasonTimeout, 0, verb, err)
	case errors.Is(err, store.ErrFull):
		// Nor here: clients would wait for ten seconds in silence before they say why.
		return failure(k, name, codeInsufficientStorage, reasonInsufficientStorage, 0, verb, err)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrKindRemoved):
		return failure(k, name, codeServiceUnavailable, metav1.StatusReasonServiceUnavailable, 1, verb, err)
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError(fmt.Sprintf("%s %s %q did not finish in time", verb, k.GroupResource(), name), 0)
	case errors.Is(err, context.Canceled):
		return err
	}
	return apierrors.NewInternalError(fmt.Errorf("%s %s %q: %w", verb, k.GroupResource(), name, err))
}

// failure of the store. With retryAfter, in seconds, the request may be sent again as it is, and clients do so by themselves.
func failure(k *api.Kind, name string, code int32, reason metav1.StatusReason, retryAfter int32, verb string, err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    code,
		Reason:  reason,
		Message: fmt.Sprintf("%s %s %q: %v", verb, k.GroupResource(), name, err),
		Details: &metav1.StatusDetails{
			Group: k.Group, Kind: k.Plural, Name: name, RetryAfterSeconds: retryAfter,
		},
	}}
}
