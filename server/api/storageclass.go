package api

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

func storageClass() *Kind {
	return &Kind{
		Group: "storage.k8s.io", Kind: "StorageClass", Plural: "storageclasses", Singular: "storageclass", ShortNames: []string{"sc"},
		Versions: []Version{typed[storagev1.StorageClass, storagev1.StorageClassList]("storage.k8s.io", "v1")},
		Prefix:   "/registry/storageclasses",
		Strategy: Strategy{
			Default: do(func(c *storagev1.StorageClass) {
				unset(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
				unset(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
			}),
			Validate:                 one(validateStorageClass),
			ValidateUpdate:           pair(validateStorageClassUpdate),
			Warnings:                 pair(storageClassWarnings),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{
			nameColumn("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"),
			str("Provisioner", "who makes its volumes", func(c *storagev1.StorageClass) string { return c.Provisioner }),
			str("ReclaimPolicy", "what happens when a claim is gone", func(c *storagev1.StorageClass) string {
				return string(deref(c.ReclaimPolicy))
			}),
			str("VolumeBindingMode", "when a volume is made", func(c *storagev1.StorageClass) string {
				return string(deref(c.VolumeBindingMode))
			}),
			col("AllowVolumeExpansion", "string", "whether volumes may grow", func(c *storagev1.StorageClass, _ time.Time) any {
				return deref(c.AllowVolumeExpansion)
			}),
			age(),
		},
	}
}
