package volume

import (
	"context"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/beneath"
)

// Bits that a volume with an fsGroup has: the group may do what is needed to share it, and what is made inside inherits the group.
const (
	groupFile = 0o660
	groupDir  = 0o770 | unix.S_ISGID
)

// own gives a volume that was written before to the pod's fsGroup. It is called before any container of the pod sees the volume, once.
// The directory itself comes last, so that OnRootMismatch finds a volume unfinished that was left half done.
func own(ctx context.Context, volume *beneath.Place, pod *corev1.Pod) error {
	gid := group(pod)
	if gid < 0 || matches(volume, pod, gid) {
		return nil
	}
	return volume.Walk(ctx, func(e *beneath.Entry) error { return ownOne(e, gid) })
}

// matches says whether the pod is content with a volume whose own directory is right, and it is.
func matches(volume *beneath.Place, pod *corev1.Pod, gid int) bool {
	p := pod.Spec.SecurityContext.FSGroupChangePolicy
	if p == nil || *p != corev1.FSGroupChangeOnRootMismatch {
		return false
	}
	st, err := volume.Stat()
	return err == nil && int(st.Gid) == gid && st.Mode&groupDir == groupDir
}

// ownOne changes what is not as it should be. Between the look and the change the entry may have become something else, so the change
// is made to a descriptor, of what that is.
func ownOne(e *beneath.Entry, gid int) error {
	if owned(e.Stat, gid) {
		return nil
	}
	if e.Stat.Mode&unix.S_IFMT == unix.S_IFLNK {
		return e.Lchown(-1, gid)
	}
	at, err := e.Place()
	if err != nil {
		return err
	}
	defer at.Close()
	st, err := at.Stat()
	if err != nil || owned(st, gid) {
		return err
	}
	if err := at.Chown(-1, gid); err != nil {
		return err
	}
	return at.Chmod(st.Mode&0o7777 | bits(st))
}

func owned(st unix.Stat_t, gid int) bool {
	return int(st.Gid) == gid && (st.Mode&unix.S_IFMT == unix.S_IFLNK || st.Mode&bits(st) == bits(st))
}

func bits(st unix.Stat_t) uint32 {
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return groupDir
	}
	return groupFile
}
