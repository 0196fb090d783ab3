package admission

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// storageProtection holds volumes, claims and attributes classes until nobody uses them; the controllers of the package
// storageprotection let go.
func storageProtection() registry.Plugin {
	return registry.Plugin{Name: "StorageObjectInUseProtection", Admit: func(_ context.Context, a *registry.Attributes) error {
		if a.Verb != registry.VerbCreate || a.Subresource != "" {
			return nil
		}
		switch o := a.Object.(type) {
		case *corev1.PersistentVolume:
			hold(o, wellknown.FinalizerVolumeProtection)
		case *corev1.PersistentVolumeClaim:
			hold(o, wellknown.FinalizerClaimProtection)
		case *storagev1.VolumeAttributesClass:
			hold(o, wellknown.FinalizerAttributesClassProtection)
		}
		return nil
	}}
}

func hold(obj api.Object, finalizer string) {
	if have := obj.GetFinalizers(); !slices.Contains(have, finalizer) {
		obj.SetFinalizers(append(slices.Clone(have), finalizer))
	}
}

// claimResize lets a claim grow only where its class says that volumes may.
func claimResize(c *Config) registry.Plugin {
	return registry.Plugin{Name: "PersistentVolumeClaimResize", Validate: func(_ context.Context, a *registry.Attributes) error {
		claim, ok := a.Object.(*corev1.PersistentVolumeClaim)
		old, also := a.Old.(*corev1.PersistentVolumeClaim)
		if !ok || !also || a.Verb != registry.VerbUpdate || a.Subresource != "" {
			return nil
		}
		was, now := old.Spec.Resources.Requests[corev1.ResourceStorage], claim.Spec.Resources.Requests[corev1.ResourceStorage]
		if now.Cmp(was) <= 0 {
			return nil
		}
		if old.Status.Phase != corev1.ClaimBound {
			return forbidden(a, "Only bound persistent volume claims can be expanded")
		}
		class := classOf(claim)
		if sc, found := get[*storagev1.StorageClass](c, "", class); class == "" || class != classOf(old) || !found || sc.AllowVolumeExpansion == nil || !*sc.AllowVolumeExpansion {
			return forbidden(a, "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")
		}
		return nil
	}}
}

func classOf(claim *corev1.PersistentVolumeClaim) string {
	if class, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	if claim.Spec.StorageClassName != nil {
		return *claim.Spec.StorageClassName
	}
	return ""
}
