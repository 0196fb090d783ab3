package image

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Errors that Pull, Import and Remove wrap.
var (
	ErrNotFound     = errors.New("not found")
	ErrUnauthorized = errors.New("unauthorized")
	ErrUnreachable  = errors.New("registry unreachable")
	ErrCorrupt      = errors.New("corrupt image")
	ErrInUse        = errors.New("image is in use")
	// ErrLocked: another process has the store open.
	ErrLocked = errors.New("image store is in use by another process")
	// ErrBadReference: it is not the name of an image.
	ErrBadReference = errors.New("invalid image reference")
)

// corrupt makes an error that wraps ErrCorrupt.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))
}

// explain adds what a person can do about it.
func explain(err error, dir string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil {
			return fmt.Errorf("the disk that holds %s is full (%d MiB left): %w", dir, st.Bavail*uint64(st.Bsize)>>20, err)
		}
	}
	return err
}
