package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/internal/beneath"
)

// claim sets up the persistent volume that is bound to a claim, or to the claim that was made for an ephemeral volume.
func (m *Manager) claim(ctx context.Context, in Input, v *corev1.Volume) (Volume, error) {
	if m.cfg.Claim == nil {
		return Volume{}, errors.New("no server to ask for the persistent volume")
	}
	name, readOnly := in.Pod.Name+"-"+v.Name, false
	if s := v.PersistentVolumeClaim; s != nil {
		name, readOnly = s.ClaimName, s.ReadOnly
	}
	pvc, pv, err := m.cfg.Claim(ctx, in.Pod.Namespace, name)
	if err != nil {
		return Volume{}, err
	}
	if v.Ephemeral != nil && !metav1.IsControlledBy(pvc, in.Pod) {
		return Volume{}, fmt.Errorf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", in.Pod.Namespace, name, in.Pod.Namespace, in.Pod.Name)
	}
	if err := modeMatches(in.Pod, v.Name, pvc); err != nil {
		return Volume{}, err
	}
	block := isBlock(pvc)
	switch {
	case pv.Spec.HostPath != nil && block:
		return Volume{}, fmt.Errorf("persistent volume %s: a hostPath volume cannot be a block device", pv.Name)
	case pv.Spec.HostPath != nil:
		return m.hostPathVolume(pv, readOnly)
	case pv.Spec.Local != nil && block:
		return localDevice(pv, readOnly)
	case pv.Spec.Local != nil:
		return m.local(ctx, in, v, pv, readOnly)
	}
	return Volume{}, fmt.Errorf("persistent volume %s: no volume plugin matched its source %s", pv.Name, sourceName(pv.Spec.PersistentVolumeSource))
}

func isBlock(pvc *corev1.PersistentVolumeClaim) bool {
	return pvc.Spec.VolumeMode != nil && *pvc.Spec.VolumeMode == corev1.PersistentVolumeBlock
}

// modeMatches refuses a device that is mounted as a directory, and the reverse.
func modeMatches(pod *corev1.Pod, name string, pvc *corev1.PersistentVolumeClaim) error {
	mounts, devices := users(pod)
	switch {
	case isBlock(pvc) && mounts[name]:
		return fmt.Errorf("volume %s has volumeMode Block, but is specified in volumeMounts", name)
	case !isBlock(pvc) && devices[name]:
		return fmt.Errorf("volume %s has volumeMode Filesystem, but is specified in volumeDevices", name)
	}
	return nil
}

func (m *Manager) hostPathVolume(pv *corev1.PersistentVolume, readOnly bool) (Volume, error) {
	if len(pv.Spec.MountOptions) > 0 {
		return Volume{}, fmt.Errorf("persistent volume %s: mount options are not supported for this volume type", pv.Name)
	}
	t := corev1.HostPathDirectoryOrCreate
	if p := pv.Spec.HostPath.Type; p != nil && *p != corev1.HostPathUnset {
		t = *p
	}
	return Volume{Path: filepath.Clean(pv.Spec.HostPath.Path), ReadOnly: readOnly}, checkHostPath(pv.Spec.HostPath.Path, t)
}

func localDevice(pv *corev1.PersistentVolume, readOnly bool) (Volume, error) {
	return Volume{Path: pv.Spec.Local.Path, Block: true, ReadOnly: readOnly}, checkLocal(pv, corev1.HostPathBlockDev)
}

func checkLocal(pv *corev1.PersistentVolume, t corev1.HostPathType) error {
	if err := checkType(pv.Spec.Local.Path, t); err != nil {
		return fmt.Errorf("local volume %s: %w", pv.Name, err)
	}
	return nil
}

// local binds the volume's directory to a place of the pod. It is given to the pod's group before: once it is mounted it belongs to the pod.
func (m *Manager) local(ctx context.Context, in Input, v *corev1.Volume, pv *corev1.PersistentVolume, readOnly bool) (Volume, error) {
	out := Volume{Path: m.diskPath(in.Pod.UID, v.Name), ReadOnly: readOnly}
	flags, err := bindFlags(pv.Spec.MountOptions)
	if err != nil {
		return out, fmt.Errorf("persistent volume %s: %w", pv.Name, err)
	}
	volumes, err := m.volumesDir(in.Pod.UID)
	if err != nil {
		return out, err
	}
	defer volumes.Close()
	if isMounted(volumes, v.Name) {
		return out, nil
	}
	if err := checkLocal(pv, corev1.HostPathDirectory); err != nil {
		if st, serr := os.Stat(pv.Spec.Local.Path); serr == nil && st.Mode()&os.ModeDevice != 0 {
			err = fmt.Errorf("local volume %s: %s is a device; making a file system on it is not supported, use volumeMode Block or mount it first", pv.Name, pv.Spec.Local.Path)
		}
		return out, err
	}
	source, err := beneath.Open(pv.Spec.Local.Path)
	if err != nil {
		return out, fmt.Errorf("local volume %s: %w", pv.Name, err)
	}
	defer source.Close()
	if !readOnly && flags&unix.MS_RDONLY == 0 {
		if err := own(ctx, source, in.Pod); err != nil {
			return out, fmt.Errorf("local volume %s: set its group: %w", pv.Name, err)
		}
	}
	at, err := volumes.MkdirAll(v.Name, beneath.NoLinks, 0o755, nil)
	if err != nil {
		return out, err
	}
	defer at.Close()
	return out, bindOnce(volumes, v.Name, at, source, flags)
}

// bindOptions are the mount options that a bind mount can have.
var bindOptions = map[string]uintptr{"bind": 0, "rw": 0, "defaults": 0, "ro": unix.MS_RDONLY, "noexec": unix.MS_NOEXEC, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV,
	"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME}

func bindFlags(options []string) (flags uintptr, err error) {
	for _, o := range options {
		f, ok := bindOptions[o]
		if !ok {
			return 0, fmt.Errorf("mount option %q is not supported for local volumes", o)
		}
		flags |= f
	}
	return flags, nil
}

// users are the volumes of a pod that containers mount as directories (or read variables from), and as devices.
func users(pod *corev1.Pod) (mounts, devices map[string]bool) {
	mounts, devices = map[string]bool{}, map[string]bool{}
	see := func(c *corev1.Container) {
		for i := range c.VolumeMounts {
			mounts[c.VolumeMounts[i].Name] = true
		}
		for i := range c.VolumeDevices {
			devices[c.VolumeDevices[i].Name] = true
		}
		for i := range c.Env {
			if f := c.Env[i].ValueFrom; f != nil && f.FileKeyRef != nil {
				mounts[f.FileKeyRef.VolumeName] = true
			}
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			see(&list[i])
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		see(&c)
	}
	return mounts, devices
}
