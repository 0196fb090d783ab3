package container

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// validate checks the configuration and sets defaults.
func (c *Config) validate() error {
	if c.StateDir == "" || c.RunDir == "" || c.CgroupRoot == "" || c.Snapshots == nil {
		return errors.New("StateDir, RunDir, CgroupRoot and Snapshots must be set")
	}
	if c.Executable == "" {
		c.Executable = "/proc/self/exe"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.LogMaxSize == 0 {
		c.LogMaxSize = 10 << 20
	}
	if c.LogMaxFiles == 0 {
		c.LogMaxFiles = 5
	}
	for _, dir := range []*string{&c.StateDir, &c.RunDir} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(abs, 0o711); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
		// libcontainer wants paths without symbolic links.
		if *dir, err = filepath.EvalSymlinks(abs); err != nil {
			return fmt.Errorf("resolve directory: %w", err)
		}
	}
	return c.checkSeal()
}

// checkSeal refuses directories that would make libcontainer copy the whole executable into memory at each start: it
// seals the executable behind an overlay of the executable's folder and the container's state folder, which the kernel
// refuses when one lies inside the other.
func (c *Config) checkSeal() error {
	exe, err := filepath.EvalSymlinks(c.Executable)
	if err != nil {
		return nil // deleted or replaced: nothing to compare with
	}
	folder := filepath.Dir(exe)
	if inside(folder, c.RunDir) || inside(filepath.Join(c.RunDir, "libcontainer"), folder) {
		return fmt.Errorf("the run directory %s and the executable's folder %s must not lie inside one another: "+
			"every container start would copy the executable into memory", c.RunDir, folder)
	}
	return nil
}

// inside says whether path is dir or below it.
func inside(dir, path string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func openExecutable(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the executable %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// checkID refuses what cannot be a file name and libcontainer's id.
func checkID(what, id string) error {
	ok := id != "" && id != "." && id != ".." && len(id) < 190
	for _, r := range id {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+-.", r))
	}
	if !ok {
		return fmt.Errorf("%s id %q: only letters, digits, _ + - . are allowed, and fewer than 190 of them", what, id)
	}
	return nil
}
