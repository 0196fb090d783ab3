package volume

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// own gives the volume to the pod's fsGroup: group of everything, group bits as the owner may, setgid on directories.
func own(path string, pod *corev1.Pod, readOnly bool) error {
	gid := group(pod)
	if gid < 0 {
		return nil
	}
	sc := pod.Spec.SecurityContext
	if p := sc.FSGroupChangePolicy; p != nil && *p == corev1.FSGroupChangeOnRootMismatch {
		if st, err := os.Stat(path); err == nil && int(st.Sys().(*syscall.Stat_t).Gid) == gid && st.Mode()&os.ModeSetgid != 0 {
			return nil
		}
	}
	return filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(name, -1, gid); err != nil {
			return err
		}
		if d.Type()&os.ModeSymlink != 0 {
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		bits := os.FileMode(0o660)
		if readOnly {
			bits = 0o440
		}
		if d.IsDir() {
			bits |= 0o110 | os.ModeSetgid
		}
		return os.Chmod(name, st.Mode()|bits)
	})
}
