package controller

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/api"
)

// IgnoreGone turns the errors of acting on an object that has gone, or is another one of the same name by now, into nil: the
// event that tells of it wakes the loop again.
func IgnoreGone(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// Only makes a change for Client.Mutate that leaves a successor of the same name alone: it changes nothing but target itself.
func Only[T api.Object](target T, change func(T)) func(api.Object) error {
	return func(obj api.Object) error {
		if next, ok := obj.(T); ok && obj.GetUID() == target.GetUID() {
			change(next)
		}
		return nil
	}
}
