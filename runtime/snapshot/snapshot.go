// Package snapshot makes root filesystems: overlayfs mounts of an image's layers with a writable layer a container.
//
//	<Dir>/<container id>/upper, work     the writable layer (survives a reboot)
//	<Dir>/<container id>/rootfs          where it is mounted
package snapshot

import (
	"context"

	"codeberg.org/skiff/skiff/runtime/image"
)

// Store implements container.Snapshotter.
type Store struct{}

// Open checks for overlayfs and removes half-made snapshots.
func Open(dir string, images *image.Store) (*Store, error) { panic("not written yet") }

// Prepare mounts a writable root filesystem of the image and returns its path. Idempotent.
func (s *Store) Prepare(ctx context.Context, id, imageID string) (string, error) {
	panic("not written yet")
}

// View mounts an image read-only (image volumes).
func (s *Store) View(ctx context.Context, id, imageID string) (string, error) {
	panic("not written yet")
}

// Remove unmounts and deletes. Idempotent.
func (s *Store) Remove(ctx context.Context, id string) error { panic("not written yet") }

// Usage of the writable layer: bytes and inodes.
func (s *Store) Usage(id string) (bytes, inodes int64, err error) { panic("not written yet") }
