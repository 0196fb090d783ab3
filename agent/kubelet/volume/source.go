package volume

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Volume is one volume of a pod as a driver made it.
type Volume struct {
	// Path on the host: what containers mount, or the node of a block device.
	Path string
	// Block says that Path is a block device: for volumeDevices, not for volumeMounts.
	Block bool
	// ReadOnly: no container may write, whatever its mount says.
	ReadOnly bool
	// Written says that only the daemon puts files here, so a container's mount points inside are made beforehand: see MountPoint.
	Written bool
	// Own says that the node made the directory and removes it with the pod.
	Own bool
	// Refresh is when SetUp must run again because something in the volume ages; zero for never.
	Refresh time.Time
}

// driver makes one kind of volume. SetUp may be called again at any time, also while containers use the volume, and after a restart or
// a reboot; it then changes nothing but files that it writes itself. The tests hold every driver to that (laws_test.go).
type driver struct {
	is    func(*corev1.Volume) bool
	setUp func(*Manager, context.Context, Input, *corev1.Volume) (Volume, error)
}

// drivers are all kinds that a node can set up.
var drivers = []driver{
	{func(v *corev1.Volume) bool { return v.EmptyDir != nil }, (*Manager).emptyDir},
	{func(v *corev1.Volume) bool { return v.HostPath != nil }, (*Manager).hostPath},
	{func(v *corev1.Volume) bool { return v.ConfigMap != nil }, (*Manager).configMap},
	{func(v *corev1.Volume) bool { return v.Secret != nil }, (*Manager).secret},
	{func(v *corev1.Volume) bool { return v.DownwardAPI != nil }, (*Manager).downwardAPI},
	{func(v *corev1.Volume) bool { return v.Projected != nil }, (*Manager).projected},
	{func(v *corev1.Volume) bool { return v.Image != nil }, (*Manager).image},
	{func(v *corev1.Volume) bool { return v.PersistentVolumeClaim != nil || v.Ephemeral != nil }, (*Manager).claim},
	{none, (*Manager).emptyDir},
}

// none: a volume without a source is an emptyDir.
func none(v *corev1.Volume) bool { return v.VolumeSource == (corev1.VolumeSource{}) }
