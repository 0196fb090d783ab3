package controller

import (
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
