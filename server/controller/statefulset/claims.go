package statefulset

import (
	"maps"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
)

var podGVK = corev1.SchemeGroupVersion.WithKind("Pod")

func claimName(set *appsv1.StatefulSet, template string, ordinal int) string {
	return template + "-" + set.Name + "-" + strconv.Itoa(ordinal)
}

// claimsOf makes the claims of the pod of a number, in the order of their templates.
func claimsOf(set *appsv1.StatefulSet, ordinal int) (claims []*corev1.PersistentVolumeClaim) {
	for i := range set.Spec.VolumeClaimTemplates {
		t := &set.Spec.VolumeClaimTemplates[i]
		c := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: set.Namespace, Name: claimName(set, t.Name, ordinal), Labels: maps.Clone(t.Labels),
				Annotations: maps.Clone(t.Annotations), Finalizers: slices.Clone(t.Finalizers)},
			Spec: *t.Spec.DeepCopy(),
		}
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		maps.Copy(c.Labels, set.Spec.Selector.MatchLabels)
		if deletedWithSet(set) {
			c.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, gvk)}
		}
		claims = append(claims, c)
	}
	return claims
}

func deletedWithSet(set *appsv1.StatefulSet) bool {
	r := set.Spec.PersistentVolumeClaimRetentionPolicy
	return r != nil && r.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

func deletedWhenScaled(set *appsv1.StatefulSet) bool {
	r := set.Spec.PersistentVolumeClaimRetentionPolicy
	return r != nil && r.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

// missing are the claims of a number that do not exist; leaving tells that one that does is being deleted, so that the pod has to wait.
func (h have) missing(ordinal int) (claims []*corev1.PersistentVolumeClaim, leaving bool) {
	for _, c := range claimsOf(h.set, ordinal) {
		switch have := h.claims[c.Name]; {
		case have == nil:
			claims = append(claims, c)
		case have.DeletionTimestamp != nil:
			leaving = true
		}
	}
	return claims, leaving
}

// stale tells whether a claim of a pod that is to be made still goes with a former pod of its name.
func (h have) stale(ordinal int) bool {
	if !deletedWhenScaled(h.set) {
		return false
	}
	for _, c := range claimsOf(h.set, ordinal) {
		if have := h.claims[c.Name]; have != nil && slices.ContainsFunc(have.OwnerReferences, func(r metav1.OwnerReference) bool {
			return r.APIVersion == "v1" && r.Kind == "Pod" && r.Name == podName(h.set, ordinal)
		}) {
			return true
		}
	}
	return false
}

// owners returns the owner references that a claim of a pod should have, and whether they are others than it has. A claim that a former set
// or pod of the same name owns is left to the garbage collector, and one that another controller has is not fought over.
func owners(set *appsv1.StatefulSet, pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) (refs []metav1.OwnerReference, differ bool) {
	foreign := false
	for _, r := range claim.OwnerReferences {
		mine := refersTo(r, set, "apps/v1", gvk.Kind) || refersTo(r, pod, "v1", podGVK.Kind)
		if mine && r.UID != set.UID && r.UID != pod.UID {
			return nil, false
		}
		if !mine {
			refs = append(refs, r)
			foreign = foreign || r.Controller != nil && *r.Controller
		}
	}
	scaledAway := !wanted(set, ordinalOf(set.Name, pod))
	switch {
	case foreign && (deletedWithSet(set) || deletedWhenScaled(set)):
	case deletedWhenScaled(set) && scaledAway:
		refs = append(refs, *metav1.NewControllerRef(pod, podGVK))
	case deletedWithSet(set):
		refs = append(refs, *metav1.NewControllerRef(set, gvk))
	}
	return refs, !sameRefs(refs, claim.OwnerReferences)
}

func refersTo(r metav1.OwnerReference, obj api.Object, apiVersion, kind string) bool {
	return r.APIVersion == apiVersion && r.Kind == kind && r.Name == obj.GetName()
}

func sameRefs(a, b []metav1.OwnerReference) bool {
	return slices.EqualFunc(a, b, func(a, b metav1.OwnerReference) bool {
		return a.UID == b.UID && (a.Controller != nil && *a.Controller) == (b.Controller != nil && *b.Controller)
	})
}
