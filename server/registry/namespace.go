package registry

import (
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/api"
)

// A namespace ends in two stages, which no other kind has: deletion makes it Terminating, and it stays until its
// controller has emptied it and taken the last name out of spec.finalizers, through the finalize subresource.
//
//	Active ── delete ──▶ Terminating ── spec.finalizers empty, metadata.finalizers empty ──▶ gone

// held says that an object may not go yet even though nothing in its metadata holds it.
func held(obj api.Object) bool {
	ns, ok := obj.(*corev1.Namespace)
	return ok && len(ns.Spec.Finalizers) > 0
}

// terminating marks a namespace whose deletion has begun.
func terminating(obj api.Object) {
	if ns, ok := obj.(*corev1.Namespace); ok {
		ns.Status.Phase = corev1.NamespaceTerminating
		ns.DeletionGracePeriodSeconds = nil
	}
}
