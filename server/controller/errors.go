package controller

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// IgnoreGone turns the errors of acting on an object that has gone, or is another one of the same name by now, into nil: the
// event that tells of it wakes the loop again.
func IgnoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// onlyTerminating tells whether an error says nothing but that a namespace is being terminated: trying again would not help, and what
// is in it goes with it.
func onlyTerminating(err error) bool {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		for _, e := range many.Unwrap() {
			if !onlyTerminating(e) {
				return false
			}
		}
		return true
	}
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}
