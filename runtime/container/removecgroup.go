package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

const cgroupMount = "/sys/fs/cgroup"

// RemoveCgroup removes the cgroup root and the empty ones below it, in every hierarchy: what is left when all sandboxes are gone.
func RemoveCgroup(root string) error {
	trees := []string{cgroupMount}
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &st); err != nil {
		return fmt.Errorf("cgroups: %w", err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC { // v1: one tree a controller
		entries, err := os.ReadDir(cgroupMount)
		if err != nil {
			return err
		}
		trees = nil
		for _, e := range entries {
			trees = append(trees, filepath.Join(cgroupMount, e.Name()))
		}
	}
	var errs []error
	for _, tree := range trees {
		var dirs []string
		err := filepath.WalkDir(filepath.Join(tree, root), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		errs = append(errs, err)
		for _, dir := range slices.Backward(dirs) {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("remove cgroup %s: %w", dir, err))
			}
		}
	}
	return errors.Join(errs...)
}
