package logs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
)

// Rotated returns the name of the n-th older file of a log, n from 1.
func Rotated(path string, n int) string { return path + "." + strconv.Itoa(n) }

// Rotate renames a log that has reached maxSize to <path>.1, older ones one further, keeps maxFiles of them all told, and
// calls reopen so that the writer makes a new file. If reopen fails the names are put back: the writer still has the old
// file open, and what it writes stays where readers look.
func Rotate(path string, maxSize int64, maxFiles int, reopen func() error) error {
	fi, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	if fi.Size() < maxSize {
		return nil
	}
	keep := max(maxFiles-1, 1)
	if err := os.Remove(Rotated(path, keep)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("rotate log: %w", err)
	}
	for n := keep - 1; n >= 1; n-- {
		if err := os.Rename(Rotated(path, n), Rotated(path, n+1)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("rotate log: %w", err)
		}
	}
	if err := os.Rename(path, Rotated(path, 1)); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	if err := reopen(); err != nil {
		if _, serr := os.Stat(path); errors.Is(serr, os.ErrNotExist) {
			_ = os.Rename(Rotated(path, 1), path)
		}
		return fmt.Errorf("rotate log %s: reopen: %w", path, err)
	}
	return nil
}
