package node

import (
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"

	"codeberg.org/skiff/skiff/internal/podrefs"
	"codeberg.org/skiff/skiff/server/store"
)

// resourceOf names a resource of a request as package podrefs does.
func resourceOf(group, resource string) podrefs.Resource {
	if group == "" {
		return podrefs.Resource(resource)
	}
	return podrefs.Resource(resource + "." + group)
}

// refers tells whether who runs a pod reads an object of its namespace for it. What a node itself has written, a mirror pod, gives it nothing:
// admission refuses one that names an object, and this holds should it ever fail to.
func refers(pod *corev1.Pod, resource podrefs.Resource, name string) bool {
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return false
	}
	for r := range podrefs.Of(pod) {
		if r.Read && r.Resource == resource && r.Name == name {
			return true
		}
	}
	return false
}

// namesSecret tells whether a node needs a Secret to mount a volume.
func namesSecret(pv *corev1.PersistentVolume, namespace, name string) bool {
	for r := range podrefs.SecretsOf(pv) {
		if r.Read && r.Namespace == namespace && r.Name == name {
			return true
		}
	}
	return false
}

// boundVolume is the volume of a claim that both say to be bound to the other; nil if there is none.
func (z *Authorizer) boundVolume(snap *store.Snapshot, namespace, claim string) *corev1.PersistentVolume {
	claims, volumes := z.catalogue.ByObject(&corev1.PersistentVolumeClaim{}), z.catalogue.ByObject(&corev1.PersistentVolume{})
	if claims == nil || volumes == nil || claim == "" {
		return nil
	}
	pvc, ok := snap.Get(claims, namespace, claim).(*corev1.PersistentVolumeClaim)
	if !ok || pvc.Spec.VolumeName == "" {
		return nil
	}
	pv, ok := snap.Get(volumes, "", pvc.Spec.VolumeName).(*corev1.PersistentVolume)
	if !ok || pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != pvc.UID || pv.Spec.ClaimRef.Namespace != pvc.Namespace || pv.Spec.ClaimRef.Name != pvc.Name {
		return nil
	}
	return pv
}

// volumes of the claims of a pod.
func (z *Authorizer) volumes(pod *corev1.Pod) func(yield func(*corev1.PersistentVolume) bool) {
	return func(yield func(*corev1.PersistentVolume) bool) {
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
			return
		}
		snap := z.snapshot()
		for r := range podrefs.Of(pod) {
			if !r.Read || r.Resource != podrefs.PersistentVolumeClaims {
				continue
			}
			if pv := z.boundVolume(snap, pod.Namespace, r.Name); pv != nil && !yield(pv) {
				return
			}
		}
	}
}

// mountsVolume: a pod of the node has a claim that is bound to the volume.
func (z *Authorizer) mountsVolume(node, volume string) bool {
	for pod := range z.pods(node) {
		for pv := range z.volumes(pod) {
			if pv.Name == volume {
				return true
			}
		}
	}
	return false
}

// volumeSecret: a volume of a pod's claims is mounted by the Secret.
func (z *Authorizer) volumeSecret(pod *corev1.Pod, namespace, name string) bool {
	for pv := range z.volumes(pod) {
		if namesSecret(pv, namespace, name) {
			return true
		}
	}
	return false
}

// sliceHere: the ResourceSlice is of the node's own devices.
func (z *Authorizer) sliceHere(node, name string) bool {
	kind, _ := z.catalogue.ByKind(resourcev1.SchemeGroupVersion.WithKind("ResourceSlice"))
	if kind == nil {
		return false
	}
	slice, ok := z.snapshot().Get(kind, "", name).(*resourcev1.ResourceSlice)
	return ok && slice.Spec.NodeName != nil && *slice.Spec.NodeName == node
}
