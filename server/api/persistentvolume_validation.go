package api

import (
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validatePersistentVolume(v *corev1.PersistentVolume) fieldErrors {
	c, spec, s := &check{}, at("spec"), &v.Spec
	c.volumeModes(spec, s)
	if len(s.Capacity) == 0 {
		c.required(spec.Child("capacity"), "")
	} else if q, ok := s.Capacity[corev1.ResourceStorage]; !ok || len(s.Capacity) > 1 {
		c.add(field.NotSupported(spec.Child("capacity"), sortedKeys(s.Capacity)[0], []corev1.ResourceName{corev1.ResourceStorage}))
	} else if q.Sign() <= 0 {
		c.invalid(spec.Child("capacity").Key("storage"), q.String(), "must be greater than zero")
	}
	oneOfIfSet(c, spec.Child("persistentVolumeReclaimPolicy"), s.PersistentVolumeReclaimPolicy,
		corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)
	if a := s.NodeAffinity; a != nil {
		if a.Required == nil {
			c.required(spec.Child("nodeAffinity", "required"), "must specify required node constraints")
		} else {
			c.nodeSelector(spec.Child("nodeAffinity", "required"), a.Required)
		}
	}
	c.volumeOrigin(spec, s)
	if h := s.HostPath; h != nil && path.Clean(h.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		c.forbidden(spec.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'")
	}
	c.nameIfSet(spec.Child("storageClassName"), s.StorageClassName, subdomain)
	c.volumeMode(spec.Child("volumeMode"), s.VolumeMode)
	c.volumeAttributes(spec, s)
	return c.errs
}

func (c *check) volumeModes(at *field.Path, s *corev1.PersistentVolumeSpec) {
	if len(s.AccessModes) == 0 {
		c.required(at.Child("accessModes"), "")
		return
	}
	c.accessModes(at.Child("accessModes"), s.AccessModes)
}

// volumeOrigin checks where a volume comes from: exactly one source, which is complete.
func (c *check) volumeOrigin(at *field.Path, s *corev1.PersistentVolumeSpec) {
	if c.onlyOne(at, s.PersistentVolumeSource, "volume type") == 0 {
		c.required(at, "must specify a volume type")
	}
	if s.HostPath != nil {
		c.hostPath(at.Child("hostPath"), s.HostPath)
	}
	if l := s.Local; l != nil {
		if c.needs(at.Child("local", "path"), l.Path) {
			c.noBacksteps(at.Child("local", "path"), l.Path)
		}
		if s.NodeAffinity == nil {
			c.required(at.Child("nodeAffinity"), "Local volume requires node affinity")
		}
	}
	if csi := s.CSI; csi != nil {
		c.driverName(at.Child("csi", "driver"), csi.Driver)
		c.needs(at.Child("csi", "volumeHandle"), csi.VolumeHandle)
		for _, secret := range []struct {
			name string
			ref  *corev1.SecretReference
		}{
			{"controllerPublishSecretRef", csi.ControllerPublishSecretRef}, {"controllerExpandSecretRef", csi.ControllerExpandSecretRef},
			{"nodePublishSecretRef", csi.NodePublishSecretRef}, {"nodeExpandSecretRef", csi.NodeExpandSecretRef},
		} {
			if secret.ref != nil {
				c.needs(at.Child("csi", secret.name, "name"), secret.ref.Name)
				c.needs(at.Child("csi", secret.name, "namespace"), secret.ref.Namespace)
			}
		}
	}
	c.remoteVolume(at, &corev1.VolumeSource{NFS: s.NFS})
}

func (c *check) volumeAttributes(at *field.Path, s *corev1.PersistentVolumeSpec) {
	name := s.VolumeAttributesClassName
	if name == nil {
		return
	}
	if *name == "" {
		c.required(at.Child("volumeAttributesClassName"), "an empty string is disallowed")
	} else {
		c.invalid(at.Child("volumeAttributesClassName"), *name, subdomain(*name)...)
	}
	if s.CSI == nil {
		c.required(at.Child("csi"), "has to be specified when using volumeAttributesClassName")
	}
}

// inlineVolume checks a volume that stands in a VolumeAttachment instead of being an object of its own.
func (c *check) inlineVolume(at *field.Path, s *corev1.PersistentVolumeSpec) {
	const context = " in the context of inline volumes"
	never := func(name string, set bool) {
		if set {
			c.forbidden(at.Child(name), "may not be specified"+context)
		}
	}
	never("claimRef", s.ClaimRef != nil)
	never("capacity", len(s.Capacity) > 0)
	if s.CSI == nil {
		c.required(at.Child("csi"), "has to be specified"+context)
	}
	c.volumeModes(at, s)
	if !slices.Contains([]corev1.PersistentVolumeReclaimPolicy{"", corev1.PersistentVolumeReclaimRetain}, s.PersistentVolumeReclaimPolicy) {
		c.forbidden(at.Child("persistentVolumeReclaimPolicy"), "may only be Retain"+context)
	}
	never("nodeAffinity", s.NodeAffinity != nil)
	c.volumeOrigin(at, s)
	never("storageClassName", s.StorageClassName != "")
	if s.VolumeMode != nil && *s.VolumeMode != corev1.PersistentVolumeFilesystem {
		c.forbidden(at.Child("volumeMode"), "may not specify volumeMode other than Filesystem"+context)
	}
	c.volumeAttributes(at, s)
}

func validatePersistentVolumeUpdate(v, old *corev1.PersistentVolume) fieldErrors {
	c := &check{errs: validatePersistentVolume(v)}
	source := v.Spec.PersistentVolumeSource
	if source.CSI != nil && old.Spec.CSI != nil && old.Spec.CSI.ControllerExpandSecretRef == nil {
		// That one may be added later.
		source.CSI = source.CSI.DeepCopy()
		source.CSI.ControllerExpandSecretRef = nil
	}
	if !apiequality.Semantic.DeepEqual(source, old.Spec.PersistentVolumeSource) {
		c.forbidden(at("spec", "persistentvolumesource"),
			fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", diff.Diff(old.Spec.PersistentVolumeSource, source)))
	}
	c.immutable(at("volumeMode"), v.Spec.VolumeMode, old.Spec.VolumeMode)
	if old.Spec.NodeAffinity != nil {
		c.immutable(at("nodeAffinity"), v.Spec.NodeAffinity, old.Spec.NodeAffinity)
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		c.forbidden(at("spec", "volumeAttributesClassName"), "update from non-nil value to nil is forbidden")
	}
	return c.errs
}
