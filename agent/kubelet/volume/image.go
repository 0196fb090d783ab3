package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/beneath"
)

// image mounts an image's layers, read-only.
func (m *Manager) image(ctx context.Context, in Input, v *corev1.Volume) (Volume, error) {
	out := Volume{Path: m.diskPath(in.Pod.UID, v.Name), ReadOnly: true}
	volumes, err := m.volumesDir(in.Pod.UID)
	if err != nil {
		return out, err
	}
	defer volumes.Close()
	if isMounted(volumes, v.Name) {
		return out, nil
	}
	if m.cfg.Layers == nil {
		return out, errors.New("image volumes are not available on this node")
	}
	layers, err := m.cfg.Layers(ctx, in.Pod, v.Image)
	if err != nil {
		return out, err
	}
	at, err := volumes.MkdirAll(v.Name, beneath.NoLinks, 0o755, nil)
	if err != nil {
		return out, err
	}
	defer at.Close()
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	if len(layers) != 1 {
		lower := slices.Clone(layers)
		slices.Reverse(lower)
		return out, at.Mount("overlay", "overlay", flags, "lowerdir="+strings.Join(lower, ":"))
	}
	layer, err := beneath.Open(layers[0])
	if err != nil {
		return out, err
	}
	defer layer.Close()
	return out, bindOnce(volumes, v.Name, at, layer, flags)
}

// bindOnce binds source on the directory at, which is name in parent, with these flags, or not at all: a mount that is there is whole.
func bindOnce(parent *beneath.Place, name string, at, source *beneath.Place, flags uintptr) error {
	if err := at.Bind(source); err != nil {
		return err
	}
	if flags == 0 {
		return nil
	}
	mounted, err := parent.At(name, beneath.NoLinks)
	if err == nil {
		defer mounted.Close()
		err = mounted.Mount("", "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("set the options of the mount: %w", err), parent.Unmount(name))
	}
	return nil
}

func isMounted(parent *beneath.Place, name string) bool {
	at, err := parent.At(name, beneath.NoLinks)
	if err != nil {
		return false
	}
	defer at.Close()
	return at.MountRoot()
}
