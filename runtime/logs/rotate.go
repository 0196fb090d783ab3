package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"codeberg.org/skiff/skiff/internal/beneath"
)

// Rotated returns the name of the n-th older file of a log, n from 1.
func Rotated(path string, n int) string { return path + "." + strconv.Itoa(n) }

// Rotate renames a log that has reached maxSize to <path>.1, older ones one further, keeps maxFiles of them all told, and
// calls reopen so that the writer makes a new file. If reopen fails the names are put back: the writer still has the old
// file open, and what it writes stays where readers look.
func Rotate(path string, maxSize int64, maxFiles int, reopen func() error) error {
	dir, err := folder(path)
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	defer dir.Close()
	file := filepath.Base(path)
	if size, err := sizeOf(dir, file); err != nil || size < maxSize {
		return err
	}
	keep := max(maxFiles-1, 1)
	if err := dir.RemoveAll(Rotated(file, keep)); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	for n := keep - 1; n >= 1; n-- {
		if err := dir.Rename(Rotated(file, n), Rotated(file, n+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	if err := dir.Rename(file, Rotated(file, 1)); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	if err := reopen(); err != nil {
		if _, serr := sizeOf(dir, file); errors.Is(serr, os.ErrNotExist) {
			_ = dir.Rename(Rotated(file, 1), file)
		}
		return fmt.Errorf("rotate log %s: reopen: %w", path, err)
	}
	return nil
}

func sizeOf(dir *beneath.Place, file string) (int64, error) {
	at, err := dir.At(file, beneath.NoLinks)
	if err != nil {
		return 0, fmt.Errorf("rotate log: %w", err)
	}
	defer at.Close()
	st, err := at.Stat()
	return st.Size, err
}
