package volume

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/internal/beneath"
)

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

// unmountBelow unmounts what is mounted at or below the directories, innermost first. The names below a directory may be a container's
// doing, so each is resolved beneath the directory, without links.
func unmountBelow(dirs ...string) error {
	points, err := mountPoints()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range slices.Backward(points) {
		for _, d := range dirs {
			if p == d || strings.HasPrefix(p, d+"/") {
				errs = append(errs, unmount(d, p))
				break
			}
		}
	}
	return errors.Join(errs...)
}

func unmount(dir, point string) error {
	base, rel := dir, strings.TrimPrefix(point, dir+"/")
	if point == dir {
		base, rel = filepath.Split(dir)
	}
	at, err := beneath.Open(base)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	return at.Unmount(rel)
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
