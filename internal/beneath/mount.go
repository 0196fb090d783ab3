package beneath

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Mount mounts a file system on the place, which must have been opened before; open it anew to see what was mounted.
func (p *Place) Mount(source, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(source, p.Path(), fstype, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", fstype, p.name, err)
	}
	return nil
}

// Bind mounts source on the place, with the mounts below it. Both are descriptors, so no name can lead anywhere else.
func (p *Place) Bind(source *Place) error {
	if err := unix.Mount(source.Path(), p.Path(), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s on %s: %w", source.name, p.name, err)
	}
	return nil
}

// Unmount takes away the mount whose root is name below the place, and all that is mounted in it; its users keep it until they end.
// What is not mounted is no error.
func (p *Place) Unmount(name string) error {
	at, err := p.At(name, NoLinks)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer at.Close()
	if !at.MountRoot() {
		return nil
	}
	if err := unix.Unmount(at.Path(), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return at.wrap("unmount", "", err)
	}
	return nil
}
