package api

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
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

func validatePersistentVolume(v *corev1.PersistentVolume) fieldErrors {
	c, spec := &check{}, at("spec")
	c.accessModes(spec.Child("accessModes"), v.Spec.AccessModes)
	if len(v.Spec.Capacity) == 0 {
		c.required(spec.Child("capacity"), "")
	} else if q, ok := v.Spec.Capacity[corev1.ResourceStorage]; !ok || len(v.Spec.Capacity) > 1 {
		c.add(field.NotSupported(spec.Child("capacity"), sortedKeys(v.Spec.Capacity)[0], []corev1.ResourceName{corev1.ResourceStorage}))
	} else if q.Sign() <= 0 {
		c.invalid(spec.Child("capacity").Key("storage"), q.String(), "must be greater than zero")
	}
	oneOfIfSet(c, spec.Child("persistentVolumeReclaimPolicy"), v.Spec.PersistentVolumeReclaimPolicy,
		corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)
	if c.onlyOne(spec, v.Spec.PersistentVolumeSource, "volume type") == 0 {
		c.required(spec, "must specify a volume type")
	}
	if h := v.Spec.HostPath; h != nil {
		c.hostPath(spec.Child("hostPath"), h)
		if path.Clean(h.Path) == "/" && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
			c.forbidden(spec.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'")
		}
	}
	if l := v.Spec.Local; l != nil {
		if c.needs(spec.Child("local", "path"), l.Path) {
			c.noBacksteps(spec.Child("local", "path"), l.Path)
		}
		if v.Spec.NodeAffinity == nil {
			c.required(at("metadata", "annotations"), "Local volume requires node affinity")
		}
	}
	if s := v.Spec.CSI; s != nil {
		c.needs(spec.Child("csi", "driver"), s.Driver)
		c.needs(spec.Child("csi", "volumeHandle"), s.VolumeHandle)
	}
	c.remoteVolume(spec, &corev1.VolumeSource{NFS: v.Spec.NFS})
	c.nameIfSet(spec.Child("storageClassName"), v.Spec.StorageClassName, subdomain)
	c.volumeMode(spec.Child("volumeMode"), v.Spec.VolumeMode)
	if a := v.Spec.NodeAffinity; a != nil {
		if a.Required == nil {
			c.required(spec.Child("nodeAffinity", "required"), "must specify required node constraints")
		} else {
			c.nodeSelector(spec.Child("nodeAffinity", "required"), a.Required)
		}
	}
	return c.errs
}

func validatePersistentVolumeUpdate(v, old *corev1.PersistentVolume) fieldErrors {
	c := &check{errs: validatePersistentVolume(v)}
	if !apiequality.Semantic.DeepEqual(v.Spec.PersistentVolumeSource, old.Spec.PersistentVolumeSource) {
		c.forbidden(at("spec", "persistentvolumesource"),
			fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", diff.Diff(old.Spec.PersistentVolumeSource, v.Spec.PersistentVolumeSource)))
	}
	c.immutable(at("spec", "volumeMode"), v.Spec.VolumeMode, old.Spec.VolumeMode)
	if old.Spec.NodeAffinity != nil {
		c.immutable(at("spec", "nodeAffinity"), v.Spec.NodeAffinity, old.Spec.NodeAffinity)
	}
	return c.errs
}

func validateStorageClass(s *storagev1.StorageClass) fieldErrors {
	c := &check{}
	if c.needs(at("provisioner"), s.Provisioner) {
		c.invalid(at("provisioner"), s.Provisioner, validation.IsQualifiedName(strings.ToLower(s.Provisioner))...)
	}
	for _, k := range sortedKeys(s.Parameters) {
		if k == "" {
			c.invalid(at("parameters"), k, "field can not be empty.")
		}
	}
	oneOf(c, at("reclaimPolicy"), deref(s.ReclaimPolicy), corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
	oneOf(c, at("volumeBindingMode"), deref(s.VolumeBindingMode), storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
	return c.errs
}

func validateStorageClassUpdate(s, old *storagev1.StorageClass) fieldErrors {
	c := &check{errs: validateStorageClass(s)}
	if !apiequality.Semantic.DeepEqual(s.Parameters, old.Parameters) {
		c.forbidden(at("parameters"), "updates to parameters are forbidden.")
	}
	if s.Provisioner != old.Provisioner {
		c.forbidden(at("provisioner"), "updates to provisioner are forbidden.")
	}
	if deref(s.ReclaimPolicy) != deref(old.ReclaimPolicy) {
		c.forbidden(at("reclaimPolicy"), "updates to reclaimPolicy are forbidden.")
	}
	c.immutable(at("volumeBindingMode"), s.VolumeBindingMode, old.VolumeBindingMode)
	return c.errs
}
