package api

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *check) accessModes(at *field.Path, modes []corev1.PersistentVolumeAccessMode) {
	if len(modes) == 0 {
		c.required(at, "at least 1 access mode is required")
	}
	alone := false
	for _, m := range modes {
		oneOfIfSet(c, at, m, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		alone = alone || m == corev1.ReadWriteOncePod
	}
	if alone && len(modes) > 1 {
		c.forbidden(at, "may not use ReadWriteOncePod with other access modes")
	}
}

func (c *check) volumeMode(at *field.Path, m *corev1.PersistentVolumeMode) {
	if m != nil {
		oneOf(c, at, *m, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
}

func (c *check) claimSpec(at *field.Path, s *corev1.PersistentVolumeClaimSpec) {
	c.accessModes(at.Child("accessModes"), s.AccessModes)
	if s.Selector != nil {
		c.selector(at.Child("selector"), s.Selector)
	}
	size := at.Child("resources").Key("storage")
	if q, ok := s.Resources.Requests[corev1.ResourceStorage]; !ok {
		c.required(size, "")
	} else if q.Sign() <= 0 {
		c.invalid(size, q.String(), "must be greater than zero")
	}
	if n := s.StorageClassName; n != nil {
		c.nameIfSet(at.Child("storageClassName"), *n, subdomain)
	}
	if n := s.VolumeAttributesClassName; n != nil {
		c.nameIfSet(at.Child("volumeAttributesClassName"), *n, subdomain)
	}
	c.volumeMode(at.Child("volumeMode"), s.VolumeMode)
	if d := s.DataSource; d != nil {
		c.needs(at.Child("dataSource", "name"), d.Name)
		c.needs(at.Child("dataSource", "kind"), d.Kind)
	}
}

func validateClaim(v *corev1.PersistentVolumeClaim) fieldErrors {
	c := &check{}
	c.claimSpec(at("spec"), &v.Spec)
	return c.errs
}

// validateClaimUpdate: a claim's spec is fixed, but the scheduler and controllers bind it, and its size may grow.
func validateClaimUpdate(v, old *corev1.PersistentVolumeClaim) fieldErrors {
	c := &check{errs: validateClaim(v)}
	now, was := v.Spec.DeepCopy(), old.Spec.DeepCopy()
	if was.VolumeName == "" {
		was.VolumeName = now.VolumeName
	}
	if was.StorageClassName == nil {
		was.StorageClassName = now.StorageClassName
	}
	if now.DataSource == nil || was.DataSource == nil {
		was.DataSource, was.DataSourceRef = now.DataSource, now.DataSourceRef
	}
	was.VolumeAttributesClassName = now.VolumeAttributesClassName
	size, had := now.Resources.Requests[corev1.ResourceStorage], was.Resources.Requests[corev1.ResourceStorage]
	if old.Status.Phase == corev1.ClaimBound && size.Cmp(had) != 0 && was.Resources.Requests != nil {
		was.Resources.Requests[corev1.ResourceStorage] = size
		if size.Cmp(had) < 0 && size.Cmp(old.Status.Capacity[corev1.ResourceStorage]) <= 0 {
			c.forbidden(at("spec", "resources", "requests", "storage"), "field can not be less than status.capacity")
		}
	}
	if !apiequality.Semantic.DeepEqual(now, was) {
		c.forbidden(at("spec"), fmt.Sprintf("spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v", diff.Diff(was, now)))
	}
	return c.errs
}
