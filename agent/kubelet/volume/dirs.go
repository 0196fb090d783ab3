package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

func (m *Manager) emptyDir(_ context.Context, in Input, v *corev1.Volume) (string, time.Time, error) {
	path := m.diskPath(in.Pod.UID, v.Name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", time.Time{}, err
	}
	if e := v.EmptyDir; e != nil && e.Medium == corev1.StorageMediumMemory {
		opts := "mode=0777"
		if e.SizeLimit != nil && e.SizeLimit.Value() > 0 {
			opts += fmt.Sprintf(",size=%d", e.SizeLimit.Value())
		}
		if err := mountTmpfs(path, opts); err != nil {
			return "", time.Time{}, err
		}
	} else if e != nil && strings.HasPrefix(string(e.Medium), string(corev1.StorageMediumHugePages)) {
		if err := mountHuge(path, string(e.Medium)); err != nil {
			return "", time.Time{}, err
		}
	}
	if st, err := os.Stat(path); err == nil && st.Mode().Perm() != 0o777 {
		if err := os.Chmod(path, 0o777); err != nil {
			return "", time.Time{}, err
		}
	}
	return path, time.Time{}, own(path, in.Pod, false)
}

// hostPath types, as the API names them.
func (m *Manager) hostPath(_ context.Context, _ Input, v *corev1.Volume) (string, time.Time, error) {
	t := corev1.HostPathUnset
	if v.HostPath.Type != nil {
		t = *v.HostPath.Type
	}
	return v.HostPath.Path, time.Time{}, checkHostPath(v.HostPath.Path, t)
}

func checkHostPath(path string, t corev1.HostPathType) error {
	if slices.Contains(strings.Split(path, "/"), "..") {
		return fmt.Errorf("hostPath %q must not contain '..'", path)
	}
	switch t {
	case corev1.HostPathUnset:
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return os.MkdirAll(path, 0o755) // what a bind mount needs; runtimes have always made it
		}
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return os.MkdirAll(path, 0o755)
		}
		t = corev1.HostPathDirectory
	case corev1.HostPathFileOrCreate:
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			return f.Close()
		}
		t = corev1.HostPathFile
	}
	return checkType(path, t)
}

func checkType(path string, t corev1.HostPathType) error {
	st, err := os.Stat(path)
	bad := func(what string) error { return fmt.Errorf("hostPath type check failed: %s is not %s", path, what) }
	switch t {
	case corev1.HostPathDirectory:
		if err != nil || !st.IsDir() {
			return bad("a directory")
		}
	case corev1.HostPathFile:
		if err != nil || !st.Mode().IsRegular() {
			return bad("a file")
		}
	case corev1.HostPathSocket:
		if err != nil || st.Mode()&os.ModeSocket == 0 {
			return bad("a socket file")
		}
	case corev1.HostPathCharDev:
		if err != nil || st.Mode()&os.ModeCharDevice == 0 {
			return bad("a character device")
		}
	case corev1.HostPathBlockDev:
		if err != nil || st.Mode()&os.ModeDevice == 0 || st.Mode()&os.ModeCharDevice != 0 {
			return bad("a block device")
		}
	default:
		return fmt.Errorf("%s is an invalid volume type", t)
	}
	return nil
}

func (m *Manager) image(ctx context.Context, in Input, v *corev1.Volume) (string, time.Time, error) {
	path := m.diskPath(in.Pod.UID, v.Name)
	if mounted(path) {
		return path, time.Time{}, nil
	}
	if m.cfg.Layers == nil {
		return "", time.Time{}, errors.New("image volumes are not available on this node")
	}
	layers, err := m.cfg.Layers(ctx, in.Pod, v.Image)
	if err != nil {
		return "", time.Time{}, err
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", time.Time{}, err
	}
	if len(layers) == 1 {
		if err := unix.Mount(layers[0], path, "", unix.MS_BIND, ""); err != nil {
			return "", time.Time{}, fmt.Errorf("bind image layer: %w", err)
		}
		return path, time.Time{}, unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
	}
	lower := slices.Clone(layers)
	slices.Reverse(lower)
	err = unix.Mount("overlay", path, "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "lowerdir="+strings.Join(lower, ":"))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("mount image: %w", err)
	}
	return path, time.Time{}, nil
}

func (m *Manager) claim(ctx context.Context, in Input, v *corev1.Volume) (string, time.Time, error) {
	if m.cfg.Claim == nil {
		return "", time.Time{}, errors.New("no server to ask for the persistent volume")
	}
	pv, err := m.cfg.Claim(ctx, in.Pod.Namespace, v.PersistentVolumeClaim.ClaimName)
	if err != nil {
		return "", time.Time{}, err
	}
	switch {
	case pv.Spec.HostPath != nil:
		t := corev1.HostPathDirectoryOrCreate
		if p := pv.Spec.HostPath.Type; p != nil && *p != corev1.HostPathUnset {
			t = *p
		}
		path := filepath.Clean(pv.Spec.HostPath.Path)
		return path, time.Time{}, checkHostPath(path, t)
	case pv.Spec.Local != nil:
		if _, err := os.Stat(pv.Spec.Local.Path); err != nil {
			return "", time.Time{}, fmt.Errorf("local volume %s: %w", pv.Name, err)
		}
		return pv.Spec.Local.Path, time.Time{}, own(pv.Spec.Local.Path, in.Pod, false)
	}
	return "", time.Time{}, fmt.Errorf("persistent volume %s: no volume plugin matched", pv.Name)
}
