package volume

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/internal/beneath"
)

// emptyDir is a directory on disk, or a tmpfs or hugetlbfs. It gets mode and group when it is made, before anybody can see it
// under its name, and never again: from then on it belongs to the pod.
func (m *Manager) emptyDir(_ context.Context, in Input, v *corev1.Volume) (Volume, error) {
	source := v.EmptyDir
	if source == nil {
		source = &corev1.EmptyDirVolumeSource{}
	}
	out := Volume{Path: m.diskPath(in.Pod.UID, v.Name), Own: true}
	volumes, err := m.volumesDir(in.Pod.UID)
	if err != nil {
		return out, err
	}
	defer volumes.Close()
	mode := emptyDirMode(source, in.Pod)
	if source.Medium == corev1.StorageMediumDefault {
		return out, makeDir(volumes, v.Name, mode, group(in.Pod))
	}
	fstype, options, err := memoryOptions(in, source)
	if err != nil {
		return out, err
	}
	options += fmt.Sprintf(",mode=%o", mode)
	if gid := group(in.Pod); gid >= 0 {
		options += fmt.Sprintf(",gid=%d", gid)
	}
	at, err := volumes.MkdirAll(v.Name, beneath.NoLinks, 0o755, nil)
	if err != nil {
		return out, err
	}
	defer at.Close()
	if at.MountRoot() {
		return out, nil
	}
	return out, at.Mount(fstype, fstype, unix.MS_NOSUID|unix.MS_NODEV, options)
}

// makeDir makes a directory that appears under its name with its mode and group, or not at all.
func makeDir(parent *beneath.Place, name string, mode uint32, gid int) error {
	at, err := parent.At(name, beneath.NoLinks)
	if err == nil {
		return at.Close()
	}
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	temp := "." + name // a volume's name never begins with a dot
	if err := parent.RemoveAll(temp); err != nil {
		return err
	}
	at, err = parent.MkdirAll(temp, beneath.NoLinks, 0, func(d *beneath.Place) error {
		if gid >= 0 {
			if err := d.Chown(-1, gid); err != nil {
				return err
			}
		}
		return d.Chmod(mode)
	})
	if err != nil {
		return err
	}
	at.Close()
	return parent.Rename(temp, name)
}

// emptyDirMode is what the volume asks for, 0777 by default; with an fsGroup what is made inside inherits the group.
func emptyDirMode(s *corev1.EmptyDirVolumeSource, pod *corev1.Pod) uint32 {
	mode := modeOf(s.Mode, 0o777)
	if group(pod) >= 0 {
		mode |= unix.S_ISGID | 0o770
	}
	return mode
}

// memoryOptions are type and options of the file system for a medium that is not the disk.
func memoryOptions(in Input, s *corev1.EmptyDirVolumeSource) (fstype, options string, err error) {
	switch {
	case s.Medium == corev1.StorageMediumMemory:
		if size := memorySize(in, s.SizeLimit); size > 0 {
			return "tmpfs", fmt.Sprintf("size=%d", size), nil
		}
		return "tmpfs", "size=50%", nil
	case s.Medium == corev1.StorageMediumHugePages, strings.HasPrefix(string(s.Medium), string(corev1.StorageMediumHugePagesPrefix)):
		size, err := hugePageSize(in.Pod, string(s.Medium))
		if err != nil {
			return "", "", err
		}
		options := "pagesize=" + size
		if s.SizeLimit != nil && s.SizeLimit.Value() > 0 {
			options += fmt.Sprintf(",size=%d", s.SizeLimit.Value())
		}
		return "hugetlbfs", options, nil
	}
	return "", "", fmt.Errorf("unknown storage medium %q", s.Medium)
}

// memorySize of a volume in memory, in bytes: the least of its limit, the pod's memory limit, and what the node has for pods; 0 if
// none of them is known.
func memorySize(in Input, limit *resource.Quantity) (size int64) {
	least := func(n int64) {
		if n > 0 && (size == 0 || n < size) {
			size = n
		}
	}
	least(in.Allocatable.Memory().Value())
	least(podres.Pod(in.Pod, 0).MemoryLimit)
	if limit != nil {
		least(limit.Value())
	}
	return size
}

// hugePageSize is the size that the medium names, or else the only one that the pod asks for, as mount options have it.
func hugePageSize(pod *corev1.Pod, medium string) (string, error) {
	if size, ok := strings.CutPrefix(medium, string(corev1.StorageMediumHugePagesPrefix)); ok {
		q, err := resource.ParseQuantity(size)
		if err != nil {
			return "", fmt.Errorf("storage medium %q: %w", medium, err)
		}
		return fmt.Sprint(q.Value()), nil
	}
	var found string
	for _, c := range append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		for name := range c.Resources.Requests {
			size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
			if !ok {
				continue
			}
			q, err := resource.ParseQuantity(size)
			if err != nil || found != "" && found != fmt.Sprint(q.Value()) {
				return "", errors.New("medium HugePages needs one page size in the pod's requests; name it as HugePages-<size>")
			}
			found = fmt.Sprint(q.Value())
		}
	}
	if found == "" {
		return "", errors.New("medium HugePages needs a request of huge pages in the pod")
	}
	return found, nil
}
