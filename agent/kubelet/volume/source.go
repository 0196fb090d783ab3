package volume

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// source is one kind of volume.
type source struct {
	is    func(*corev1.Volume) bool
	setUp func(*Manager, context.Context, Input, *corev1.Volume) (path string, refresh time.Time, err error)
}

// sources are all kinds that a node can set up.
var sources = []source{
	{func(v *corev1.Volume) bool { return v.EmptyDir != nil }, (*Manager).emptyDir},
	{func(v *corev1.Volume) bool { return v.HostPath != nil }, (*Manager).hostPath},
	{func(v *corev1.Volume) bool { return v.ConfigMap != nil }, (*Manager).configMap},
	{func(v *corev1.Volume) bool { return v.Secret != nil }, (*Manager).secret},
	{func(v *corev1.Volume) bool { return v.DownwardAPI != nil }, (*Manager).downwardAPI},
	{func(v *corev1.Volume) bool { return v.Projected != nil }, (*Manager).projected},
	{func(v *corev1.Volume) bool { return v.Image != nil }, (*Manager).image},
	{func(v *corev1.Volume) bool { return v.PersistentVolumeClaim != nil }, (*Manager).claim},
	{none, (*Manager).emptyDir},
}

// none: a volume without a source is an emptyDir.
func none(v *corev1.Volume) bool { return v.VolumeSource == (corev1.VolumeSource{}) }
