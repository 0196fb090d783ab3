package volume

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/internal/beneath"
)

// SubPath resolves sub inside the volume and binds what it finds to a place of its own, so that nothing inside the volume can change
// afterwards what the container mounts. A path that does not exist is made as a directory, with mode and group of the volume's own.
func (m *Manager) SubPath(uid types.UID, container string, n int, v Volume, sub string) (string, error) {
	source, err := openSub(v, sub)
	if errors.Is(err, beneath.ErrOutside) {
		err = errors.New("it leads out of the volume") // without the node's own paths
	}
	if err != nil {
		return "", fmt.Errorf("failed to prepare subPath %q: %w", sub, err)
	}
	defer source.Close()
	pod, err := m.podPlace(uid)
	if err != nil {
		return "", err
	}
	defer pod.Close()
	parent, err := pod.MkdirAll(filepath.Join("subpaths", container), beneath.NoLinks, 0o750, nil)
	if err != nil {
		return "", err
	}
	defer parent.Close()
	name := strconv.Itoa(n)
	target, err := freshTarget(parent, name, source.IsDir())
	if err != nil {
		return "", err
	}
	defer target.Close()
	if err := target.Bind(source); err != nil {
		return "", fmt.Errorf("bind subPath %q: %w", sub, err)
	}
	return filepath.Join(m.podDir(uid), "subpaths", container, name), nil
}

func openSub(v Volume, sub string) (*beneath.Place, error) {
	root, err := beneath.Open(v.Path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	at, err := root.At(sub, beneath.LinksInside)
	if !errors.Is(err, unix.ENOENT) {
		return at, err
	}
	st, err := root.Stat()
	if err != nil {
		return nil, err
	}
	return root.MkdirAll(sub, beneath.LinksInside, 0, func(d *beneath.Place) error {
		if v.Own {
			if err := d.Chown(-1, int(st.Gid)); err != nil {
				return err
			}
		}
		return d.Chmod(st.Mode & 0o7777)
	})
}

// freshTarget makes the file or directory that a sub-path is bound to; what an earlier attempt bound there goes.
func freshTarget(parent *beneath.Place, name string, dir bool) (*beneath.Place, error) {
	for isMounted(parent, name) {
		if err := parent.Unmount(name); err != nil {
			return nil, err
		}
	}
	if err := parent.RemoveAll(name); err != nil {
		return nil, err
	}
	if dir {
		return parent.MkdirAll(name, beneath.NoLinks, 0o755, nil)
	}
	f, err := parent.Create(name, 0o644)
	if err != nil {
		return nil, err
	}
	f.Close()
	return parent.At(name, beneath.NoLinks)
}

// maxVariables is the size of a file that variables are read from, in bytes.
const maxVariables = 1 << 20

// ReadFile reads a file of a volume, without leaving it. It is a regular file of at most a mebibyte.
func ReadFile(root, name string) ([]byte, error) {
	at, err := beneath.Open(root)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	return at.ReadFile(name, beneath.LinksInside, maxVariables)
}
