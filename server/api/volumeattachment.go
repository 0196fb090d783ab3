package api

import (
	"math"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func volumeAttachment() *Kind {
	type va = *storagev1.VolumeAttachment
	attacher := str("Attacher", "driver that attaches", func(a va) string { return a.Spec.Attacher })
	attacher.Format = "name"
	return &Kind{
		Group: "storage.k8s.io", Kind: "VolumeAttachment", Plural: "volumeattachments", Singular: "volumeattachment",
		Versions: []Version{typed[storagev1.VolumeAttachment, storagev1.VolumeAttachmentList]("storage.k8s.io", "v1")},
		Prefix:   "/registry/volumeattachments",
		Strategy: Strategy{
			PrepareCreate:  do(func(a va) { a.Status = storagev1.VolumeAttachmentStatus{} }),
			PrepareUpdate:  doPair(func(a, old va) { a.Status = old.Status }),
			Validate:       one(validateVolumeAttachment),
			ValidateUpdate: pair(validateVolumeAttachmentUpdate),
		},
		Subresources: []Subresource{statusAlone(func(to, from va) { to.Status = from.Status }, validateVolumeAttachmentUpdate)},
		Columns: []Column{
			attacher,
			str("PV", "volume that is attached", func(a va) string { return deref(a.Spec.Source.PersistentVolumeName) }),
			str("Node", "node it is attached to", func(a va) string { return a.Spec.NodeName }),
			col("Attached", "boolean", "whether it is attached", func(a va, _ time.Time) any { return a.Status.Attached }),
			age(),
		},
	}
}

const (
	maxAttachmentMetadata = 256 << 10
	maxVolumeErrorMessage = 1024
)

func validateVolumeAttachment(a *storagev1.VolumeAttachment) fieldErrors {
	c, spec := &check{}, at("spec")
	c.driverName(spec.Child("attacher"), a.Spec.Attacher)
	c.attachmentSource(spec.Child("source"), &a.Spec.Source)
	c.invalid(spec.Child("nodeName"), a.Spec.NodeName, subdomain(a.Spec.NodeName)...)
	size := 0
	for k, v := range a.Status.AttachmentMetadata {
		size += len(k) + len(v)
	}
	if size > maxAttachmentMetadata {
		c.add(field.TooLong(at("status", "attachmentMetadata"), "", maxAttachmentMetadata))
	}
	c.volumeError(at("status", "attachError"), a.Status.AttachError)
	c.volumeError(at("status", "detachError"), a.Status.DetachError)
	if name := a.Spec.Source.PersistentVolumeName; name != nil {
		c.invalid(field.NewPath("spec.source.persistentVolumeName"), *name, subdomain(*name)...)
	}
	return c.errs
}

func (c *check) attachmentSource(at *field.Path, s *storagev1.VolumeAttachmentSource) {
	const exactlyOne = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	switch {
	case s.InlineVolumeSpec == nil && s.PersistentVolumeName == nil:
		c.required(at, exactlyOne)
	case s.InlineVolumeSpec != nil && s.PersistentVolumeName != nil:
		c.forbidden(at, exactlyOne)
	case s.PersistentVolumeName != nil:
		if *s.PersistentVolumeName == "" {
			c.required(at.Child("persistentVolumeName"), "must specify non empty persistentVolumeName")
		}
	default:
		c.inlineVolume(at.Child("inlineVolumeSpec"), s.InlineVolumeSpec)
	}
}

func (c *check) volumeError(at *field.Path, e *storagev1.VolumeError) {
	if e == nil {
		return
	}
	if len(e.Message) > maxVolumeErrorMessage {
		c.add(field.TooLong(at.Child("message"), "", maxVolumeErrorMessage))
	}
	if e.ErrorCode != nil && *e.ErrorCode < 0 {
		c.invalid(at.Child("errorCode"), *e.ErrorCode, validation.InclusiveRangeError(0, math.MaxInt32))
	}
}

func validateVolumeAttachmentUpdate(a, old *storagev1.VolumeAttachment) fieldErrors {
	c := &check{errs: validateVolumeAttachment(a)}
	c.immutable(at("spec"), a.Spec, old.Spec)
	return c.errs
}
