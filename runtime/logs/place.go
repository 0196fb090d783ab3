package logs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"codeberg.org/skiff/skiff/internal/beneath"
)

// levels of a log's path that are never symbolic links: pods/<pod>/<container>/<attempt>.log. Programs that collect logs often have
// the folder above mounted in a container, with write access.
const levels = 4

// split a log's path where its own levels begin.
func split(path string) (base, name string) {
	base = filepath.Clean(path)
	for range levels {
		base = filepath.Dir(base)
	}
	return base, strings.TrimPrefix(strings.TrimPrefix(filepath.Clean(path), base), "/")
}

// open a file of a log.
func open(path string) (*os.File, error) {
	base, name := split(path)
	at, err := beneath.Open(base)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	return at.OpenFile(name, beneath.NoLinks, os.O_RDONLY)
}

// folder opens the folder of a log.
func folder(path string) (*beneath.Place, error) {
	base, name := split(path)
	at, err := beneath.Open(base)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	return at.At(filepath.Dir(name), beneath.NoLinks)
}

// MakeDir makes the folder of a log.
func MakeDir(path string) error {
	base, name := split(path)
	at, err := beneath.Open(base)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(base, 0o755); err != nil {
			return err
		}
		at, err = beneath.Open(base)
	}
	if err != nil {
		return err
	}
	defer at.Close()
	dir, err := at.MkdirAll(filepath.Dir(name), beneath.NoLinks, 0o755, nil)
	if err != nil {
		return err
	}
	return dir.Close()
}

// Remove removes a log with its older files, as far as they are there.
func Remove(path string) {
	dir, err := folder(path)
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Names()
	file := filepath.Base(path)
	for _, n := range names {
		if n == file || strings.HasPrefix(n, file+".") {
			_ = dir.RemoveAll(n)
		}
	}
}
