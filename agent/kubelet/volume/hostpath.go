package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/beneath"
)

func (m *Manager) hostPath(_ context.Context, _ Input, v *corev1.Volume) (Volume, error) {
	t := corev1.HostPathUnset
	if v.HostPath.Type != nil {
		t = *v.HostPath.Type
	}
	return Volume{Path: v.HostPath.Path}, checkHostPath(v.HostPath.Path, t)
}

// checkHostPath checks the type, and makes what the type says may be made.
func checkHostPath(path string, t corev1.HostPathType) error {
	if !filepath.IsAbs(path) || slices.Contains(strings.Split(path, "/"), "..") {
		return fmt.Errorf("hostPath %q must be absolute and must not contain '..'", path)
	}
	switch t {
	case corev1.HostPathUnset: // a bind mount needs it; runtimes have always made it
		return makeHostPath(path, true)
	case corev1.HostPathDirectoryOrCreate:
		if err := makeHostPath(path, true); err != nil {
			return err
		}
		t = corev1.HostPathDirectory
	case corev1.HostPathFileOrCreate:
		if err := makeHostPath(path, false); err != nil {
			return err
		}
		t = corev1.HostPathFile
	}
	return checkType(path, t)
}

// systemLinks are directories whose symbolic links belong to the system's own layout, such as /var/run.
var systemLinks = []string{"/", "/var", "/usr"}

// makeHostPath makes a missing directory (with its parents) or file. Another pod may have a part of the path mounted, and may exchange a
// directory in it for a link while we look. So nothing is made through a link, except through those of the system's own layout.
func makeHostPath(path string, dir bool) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return nil // what is there is checked by its type, and mounted by the runtime
	}
	real, err := resolveSystem(path)
	if err != nil {
		return err
	}
	root, err := beneath.Open("/")
	if err != nil {
		return err
	}
	defer root.Close()
	parent := filepath.Dir(real)
	if dir {
		parent = real
	}
	at, err := root.MkdirAll(strings.TrimPrefix(parent, "/"), beneath.NoLinks, 0o755, nil)
	if err == nil {
		defer at.Close()
		if !dir {
			var f *os.File
			if f, err = at.Create(filepath.Base(real), 0o644); err == nil {
				return f.Close()
			}
		}
	}
	switch {
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("hostPath %s does not exist and is not made through a symbolic link: %w", path, err)
	case errors.Is(err, unix.EEXIST):
		return nil
	}
	return err
}

// resolveSystem replaces the links of the system's own layout in a path by what they lead to.
func resolveSystem(path string) (string, error) {
	path = filepath.Clean(path)
	for range 10 {
		next, err := resolveOne(path)
		if err != nil || next == path {
			return path, err
		}
		path = next
	}
	return "", fmt.Errorf("hostPath %s: %w", path, unix.ELOOP)
}

func resolveOne(path string) (string, error) {
	for _, dir := range systemLinks {
		rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/")
		if !ok || rest == "" {
			continue
		}
		first, rest, _ := strings.Cut(rest, "/")
		to, err := os.Readlink(filepath.Join(dir, first))
		if err != nil {
			continue // no link, or not there
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		return filepath.Join(to, rest), nil
	}
	return path, nil
}

// checkType, in the words that users search for.
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
