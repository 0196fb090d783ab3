package volume

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mounted says whether path is the root of a mount (Linux 5.8 and later tell).
func mounted(path string) bool {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_INO, &st) != nil {
		return false
	}
	return st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func mountTmpfs(path, opts string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	if mounted(path) {
		return nil
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", path, err)
	}
	return nil
}

func mountHuge(path, medium string) error {
	if mounted(path) {
		return nil
	}
	opts := ""
	if _, size, ok := strings.Cut(medium, "-"); ok {
		opts = "pagesize=" + strings.TrimSuffix(size, "i")
	}
	if err := unix.Mount("nodev", path, "hugetlbfs", 0, opts); err != nil {
		return fmt.Errorf("mount hugetlbfs on %s: %w", path, err)
	}
	return nil
}

// EnsureMemory makes dir a tmpfs, unless it lies on one: secrets are never written to a disk.
func EnsureMemory(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return fmt.Errorf("stat file system of %s: %w", dir, err)
	}
	if st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
		return nil
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0750"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

// UnmountAll unmounts everything at and below the directories, e.g. when the node is uninstalled.
func UnmountAll(dirs ...string) error { return unmountBelow(dirs...) }

// unmountBelow unmounts what is mounted at or below the directories, innermost first.
func unmountBelow(dirs ...string) error {
	points, err := mountPoints()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range slices.Backward(points) {
		for _, d := range dirs {
			if p == d || strings.HasPrefix(p, d+"/") {
				if err := unix.Unmount(p, unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
					if errors.Is(err, unix.EBUSY) {
						err = unix.Unmount(p, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
					}
					if err != nil {
						errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
					}
				}
				break
			}
		}
	}
	return errors.Join(errs...)
}

// mountPoints of this process, in the order they were mounted.
func mountPoints() ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if fields := strings.Fields(sc.Text()); len(fields) > 4 {
			out = append(out, unescape(fields[4]))
		}
	}
	return out, sc.Err()
}

// unescape turns \040 and its like, as the kernel writes them, into bytes.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
