package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// MountPoint makes a place inside a volume where a container mounts something else: in a volume that is read-only for the container the
// runtime cannot. dir is where the container's mount of the volume comes from (the volume, or a subPath of it), name is relative to it,
// isDir says what is mounted. A file of the volume that has the name is hidden by it, as upstream.
func MountPoint(v Volume, dir, name string, isDir bool) error {
	if !v.Own {
		return nil // the user's own directory: what is missing there is not ours to make
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	name = path.Clean(name)
	if strings.HasPrefix(name, "..") || name == "." || path.IsAbs(name) {
		return fmt.Errorf("mount path inside the volume: %q is not allowed", name)
	}
	if v.Written {
		st, err := root.Lstat(top(name))
		if err == nil && st.Mode()&fs.ModeSymlink != 0 {
			if err := root.Remove(top(name)); err != nil {
				return err
			}
		}
	} else if _, err := root.Lstat(top(name)); err == nil {
		return nil // made by the pod: the runtime resolves it as the container sees it
	}
	return makeMountPoint(root, name, isDir)
}

func makeMountPoint(root *os.Root, name string, isDir bool) error {
	if isDir {
		return root.MkdirAll(name, 0o755)
	}
	if parent := path.Dir(name); parent != "." {
		if err := root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}
