package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/apiserver/codec"
	"codeberg.org/skiff/skiff/server/store"
)

var statusGVK = schema.GroupVersionKind{Version: "v1", Kind: "Status"}

// statusOf makes the Status that tells a client of err.
func statusOf(err error) metav1.Status {
	var api apierrors.APIStatus
	var encoding *codec.NotEncodableError
	switch {
	case errors.As(err, &api):
		s := api.Status()
		if s.Status == "" {
			s.Status = metav1.StatusFailure
		}
		return s
	case errors.Is(err, store.ErrUnavailable):
		s := apierrors.NewServiceUnavailable(err.Error()).Status()
		s.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
		return s
	case errors.Is(err, store.ErrCompacted):
		return apierrors.NewResourceExpired(err.Error()).Status()
	case errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("request did not complete within the allotted timeout", 0).Status()
	case errors.As(err, &encoding):
		return notAcceptable(encoding.Error())
	}
	return apierrors.NewInternalError(err).Status()
}

func notAcceptable(message string) metav1.Status {
	return metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable, Message: message}
}

// failure makes an error of a bare code, reason and message.
func failure(code int32, reason metav1.StatusReason, format string, args ...any) *apierrors.StatusError {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason,
		Message: fmt.Sprintf(format, args...)}}
}

// errNoRoute is what a path that nobody serves gets.
func errNoRoute() error {
	err := failure(http.StatusNotFound, metav1.StatusReasonNotFound, "the server could not find the requested resource")
	err.ErrStatus.Details = &metav1.StatusDetails{}
	return err
}

func errMethod() error {
	err := failure(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "the server does not allow this method on the requested resource")
	err.ErrStatus.Details = &metav1.StatusDetails{}
	return err
}

func errUnauthorized() error { return apierrors.NewUnauthorized("Unauthorized") }

func errMediaType(accepted []string) error {
	return failure(http.StatusUnsupportedMediaType, metav1.StatusReasonUnsupportedMediaType,
		"the body of the request was in an unknown format - accepted media types include: %s", join(accepted))
}

func errAccept(accepted []string) error {
	return &apierrors.StatusError{ErrStatus: notAcceptable("only the following media types are accepted: " + join(accepted))}
}

func join(list []string) string {
	out := ""
	for i, s := range list {
		if i > 0 {
			out += ", "
		}
		out += s
	}
	return out
}

// setRetryAfter tells when to come back, if the status says so. Clients that see the header send the request again by themselves, so an error that
// is to be shown, as a budget that blocks an eviction, has none.
func setRetryAfter(h http.Header, s *metav1.Status) {
	if s.Details != nil && s.Details.RetryAfterSeconds > 0 {
		h.Set("Retry-After", strconv.Itoa(int(s.Details.RetryAfterSeconds)))
	}
}
