package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/podenv"
	"codeberg.org/skiff/skiff/agent/kubelet/volume"
	"codeberg.org/skiff/skiff/runtime/container"
)

// lookup is the value of a variable of the container.
type lookup = func(string) (string, bool)

// mounts of the container: what every pod has, then its volumes; deeper paths later.
func (w *worker) mounts(spec *container.ContainerSpec, pod *corev1.Pod, c *corev1.Container, vars lookup) error {
	if err := w.standardMounts(spec, pod, c); err != nil {
		return err
	}
	w.mu.Lock()
	mounted := w.volumes
	w.mu.Unlock()
	if mounted == nil {
		mounted = &volume.Mounted{}
	}
	from := map[string]volume.Volume{} // by destination
	for n, m := range c.VolumeMounts {
		v, ok := mounted.Volumes[m.Name]
		if !ok || v.Block {
			return fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, c.Name)
		}
		mount, err := w.volumeMount(c, n, m, v, vars)
		if err != nil {
			return err
		}
		spec.Mounts = slices.DeleteFunc(spec.Mounts, func(x container.Mount) bool { return x.Destination == mount.Destination })
		spec.Mounts = append(spec.Mounts, mount)
		from[mount.Destination] = v
	}
	slices.SortStableFunc(spec.Mounts, func(a, b container.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	if err := volumeDevices(spec, c, mounted); err != nil {
		return err
	}
	return makeMountPoints(spec.Mounts, from)
}

// volumeMount is the n-th mount of a container.
func (w *worker) volumeMount(c *corev1.Container, n int, m corev1.VolumeMount, v volume.Volume, vars lookup) (out container.Mount, err error) {
	sub := m.SubPath
	if m.SubPathExpr != "" {
		sub = podenv.Expand(m.SubPathExpr, vars)
		if strings.Contains(sub, "$(") {
			return out, fmt.Errorf("failed to expand subPath %q", m.SubPathExpr)
		}
	}
	path := v.Path
	if sub != "" {
		if filepath.IsAbs(sub) {
			return out, fmt.Errorf("error SubPath `%s` must not be an absolute path", sub)
		}
		if path, err = w.k.volumes.SubPath(w.uid, c.Name, n, v, sub); err != nil {
			return out, err
		}
	}
	return mount(path, m, v)
}

// mount says to the runtime what the container says of a volume.
func mount(path string, m corev1.VolumeMount, v volume.Volume) (container.Mount, error) {
	out := container.Mount{Source: path, Destination: filepath.Clean(m.MountPath), ReadOnly: m.ReadOnly || v.ReadOnly, Propagation: "private", Options: m.BindMountOptions}
	if r := m.RecursiveReadOnly; r != nil && m.ReadOnly && *r != corev1.RecursiveReadOnlyDisabled {
		out.RecursiveReadOnly = container.CanRecursiveReadOnly()
		if !out.RecursiveReadOnly && *r == corev1.RecursiveReadOnlyEnabled {
			return out, fmt.Errorf("volume %q requested recursive read-only mode, but it is not supported by the runtime", m.Name)
		}
	}
	if m.MountPropagation != nil {
		switch *m.MountPropagation {
		case corev1.MountPropagationBidirectional:
			out.Propagation = "shared"
		case corev1.MountPropagationHostToContainer:
			out.Propagation = "slave"
		}
	}
	return out, nil
}

// volumeDevices gives the container the block devices that it names.
func volumeDevices(spec *container.ContainerSpec, c *corev1.Container, mounted *volume.Mounted) error {
	for _, d := range c.VolumeDevices {
		v, ok := mounted.Volumes[d.Name]
		if !ok || !v.Block {
			return fmt.Errorf("cannot find volume %q to pass into container %q", d.Name, c.Name)
		}
		permissions := "rwm"
		if v.ReadOnly {
			permissions = "r"
		}
		spec.Devices = append(spec.Devices, container.Device{HostPath: v.Path, ContainerPath: filepath.Clean(d.DevicePath), Permissions: permissions})
	}
	return nil
}

// makeMountPoints makes, in volumes that the container has read-only, the places where other mounts go: the runtime cannot.
func makeMountPoints(mounts []container.Mount, from map[string]volume.Volume) error {
	for _, m := range mounts {
		parent, ok := enclosing(mounts, m.Destination)
		v, ofVolume := from[parent.Destination]
		if !ok || !ofVolume || !parent.ReadOnly {
			continue
		}
		rel, err := filepath.Rel(parent.Destination, m.Destination)
		if err != nil {
			return err
		}
		st, err := os.Stat(m.Source)
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
		if err := volume.MountPoint(v, parent.Source, rel, st.IsDir()); err != nil {
			return fmt.Errorf("make the mount point of %s: %w", m.Destination, err)
		}
	}
	return nil
}

// enclosing is the deepest other mount in which the path lies.
func enclosing(mounts []container.Mount, path string) (found container.Mount, ok bool) {
	for _, m := range mounts {
		inside := m.Destination != path && strings.HasPrefix(path, strings.TrimSuffix(m.Destination, "/")+"/")
		if inside && len(m.Destination) > len(found.Destination) {
			found, ok = m, true
		}
	}
	return found, ok
}
