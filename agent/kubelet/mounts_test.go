package kubelet

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/volume"
	"codeberg.org/skiff/skiff/runtime/container"
)

// TestMountPointsInReadOnlyVolumes: the place of a mount inside a volume that the container has read-only is made before; in a volume
// that is the user's own, or that the container can write, it is left to the runtime.
func TestMountPointsInReadOnlyVolumes(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"api", "empty", "host", "rw", "inner"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	os.WriteFile(at("file"), nil, 0o644)
	os.Symlink("..data/key", at("api/key"))
	mounts := []container.Mount{
		{Source: at("api"), Destination: "/etc/x", ReadOnly: true}, {Source: at("inner"), Destination: "/etc/x/y"}, {Source: at("file"), Destination: "/etc/x/d/f"},
		{Source: at("inner"), Destination: "/etc/x/key"}, {Source: at("inner"), Destination: "/etc/x/y/deeper"},
		{Source: at("empty"), Destination: "/e", ReadOnly: true}, {Source: at("inner"), Destination: "/e/y"},
		{Source: at("host"), Destination: "/h", ReadOnly: true}, {Source: at("inner"), Destination: "/h/y"},
		{Source: at("rw"), Destination: "/rw"}, {Source: at("inner"), Destination: "/rw/y"},
	}
	err := makeMountPoints(mounts, map[string]volume.Volume{
		"/etc/x": {Path: at("api"), Written: true, Own: true}, "/e": {Path: at("empty"), Own: true}, "/h": {Path: at("host")}, "/rw": {Path: at("rw"), Own: true}})
	if err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]bool{"api/y": true, "api/d/f": false, "api/key": true, "empty/y": true} {
		if st, err := os.Lstat(at(name)); err != nil || st.IsDir() != dir || st.Mode()&os.ModeSymlink != 0 {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
	for _, name := range []string{"host/y", "rw/y", "inner/deeper"} {
		if _, err := os.Lstat(at(name)); err == nil {
			t.Errorf("%s was made", name)
		}
	}
}

func TestMountModes(t *testing.T) {
	enabled, slave := corev1.RecursiveReadOnlyEnabled, corev1.MountPropagationHostToContainer
	m, err := mount("/p", corev1.VolumeMount{MountPath: "/x/"}, volume.Volume{ReadOnly: true})
	if err != nil || !m.ReadOnly || m.Destination != "/x" || m.Propagation != "private" {
		t.Errorf("a volume that no container may write: %+v, %v", m, err)
	}
	m, err = mount("/p", corev1.VolumeMount{MountPath: "/x", ReadOnly: true, RecursiveReadOnly: &enabled, MountPropagation: &slave, BindMountOptions: []string{"noexec"}}, volume.Volume{})
	if container.CanRecursiveReadOnly() && (err != nil || !m.RecursiveReadOnly || m.Propagation != "slave" || len(m.Options) != 1) {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestVolumeDevices(t *testing.T) {
	mounted := &volume.Mounted{Volumes: map[string]volume.Volume{"disk": {Path: "/dev/sdx", Block: true, ReadOnly: true}, "dir": {Path: "/d"}}}
	c := &corev1.Container{Name: "c", VolumeDevices: []corev1.VolumeDevice{{Name: "disk", DevicePath: "/dev/mine/"}}}
	spec := &container.ContainerSpec{}
	if err := volumeDevices(spec, c, mounted); err != nil || len(spec.Devices) != 1 || spec.Devices[0] != (container.Device{HostPath: "/dev/sdx", ContainerPath: "/dev/mine", Permissions: "r"}) {
		t.Errorf("%+v, %v", spec.Devices, err)
	}
	c.VolumeDevices[0].Name = "dir"
	if volumeDevices(spec, c, mounted) == nil {
		t.Error("a directory was given as a device")
	}
}
