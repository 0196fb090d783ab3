package kubelet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// reasonPrepareResources is the event of a pod whose claims are not ready.
const reasonPrepareResources = "FailedPrepareDynamicResources"

// handlers of RuntimeClasses that this node has: the default, and the name by which everybody else calls it.
var handlers = []string{"", "runc"}

// canHonour says why no sandbox can be made that is what the pod asks for. The pod stays Pending and is tried again.
func (w *worker) canHonour(ctx context.Context, pod *corev1.Pod) error {
	if err := userNamespace(pod, kernelRelease()); err != nil {
		return err
	}
	if ownUsers(pod) {
		if err := passable(w.k.cfg.Paths.Snapshots()); err != nil {
			return err
		}
	}
	handler, err := w.runtimeHandler(ctx, pod)
	if err != nil {
		return err
	}
	if !slices.Contains(handlers, handler) {
		return fmt.Errorf("failed to get sandbox runtime: no runtime for %q is configured", handler)
	}
	if len(pod.Spec.ResourceClaims) == 0 {
		return nil
	}
	return because(reasonPrepareResources, w.claimsReady(ctx, pod))
}

// ownUsers says whether a pod has a user namespace of its own.
func ownUsers(pod *corev1.Pod) bool { return pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers }

// userNamespace refuses what would run as the host's own users although the pod says that it must not, or could not read its volumes.
func userNamespace(pod *corev1.Pod, release string) error {
	if !ownUsers(pod) {
		return nil
	}
	if !canMapUsers(release) {
		return fmt.Errorf("can't set `spec.hostUsers: false`, user namespaces need Linux 6.5 or later and this is %s", release)
	}
	for _, v := range pod.Spec.Volumes {
		if v.Image != nil {
			return fmt.Errorf("can't set `spec.hostUsers: false`: volume %s is an image, which cannot be mounted into a user namespace", v.Name)
		}
	}
	return nil
}

// passable says which folder on the way to the containers' root filesystems keeps out a user namespace's root, who is nobody on the host.
func passable(dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		if st, err := os.Stat(dir); err == nil && st.Mode().Perm()&1 == 0 {
			return fmt.Errorf("can't set `spec.hostUsers: false`: the folder %s is on the way to the container's files and closed to other users (mode %04o; it needs the mode 0711)", dir, st.Mode().Perm())
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// canMapUsers: a kernel has all that it takes (overlayfs on shifted layers, layers given one by one, shifted tmpfs) from 6.5 on.
func canMapUsers(release string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return n == 2 && (major > 6 || major == 6 && minor >= 5)
}

func kernelRelease() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return unix.ByteSliceToString(u.Release[:])
}

// runtimeHandler is what the pod's RuntimeClass names. It is kept beside the checkpoint, so that a node without a server can start
// its pods again.
func (w *worker) runtimeHandler(ctx context.Context, pod *corev1.Pod) (string, error) {
	name := pod.Spec.RuntimeClassName
	if name == nil || *name == "" {
		return "", nil
	}
	file := filepath.Join(w.dir(), "runtime-handler")
	if w.k.cfg.Client == nil {
		return "", fmt.Errorf("no server to ask for the RuntimeClass %q", *name)
	}
	class, err := w.k.cfg.Client.NodeV1().RuntimeClasses().Get(ctx, *name, metav1.GetOptions{})
	switch {
	case err == nil:
	case apierrors.IsNotFound(err):
		return "", err
	default:
		if kept, errFile := os.ReadFile(file); errFile == nil {
			return string(kept), nil
		}
		return "", fmt.Errorf("get RuntimeClass %q: %w", *name, err)
	}
	if err := w.makeDirs(); err != nil {
		return "", err
	}
	if err := os.WriteFile(file, []byte(class.Handler), 0o600); err != nil {
		return "", fmt.Errorf("keep the runtime handler: %w", err)
	}
	return class.Handler, nil
}

// claimsReady says why the devices that the pod claims cannot be used: nobody has allocated them, for this pod, or no driver on this
// node hands them out.
func (w *worker) claimsReady(ctx context.Context, pod *corev1.Pod) error {
	if w.k.cfg.Client == nil {
		return errors.New("no server to ask for the resource claims")
	}
	for i := range pod.Spec.ResourceClaims {
		name, err := claimName(pod, &pod.Spec.ResourceClaims[i])
		if err != nil {
			return err
		}
		if name == "" {
			continue // its template made none, as the status tells
		}
		claim, err := w.k.cfg.Client.ResourceV1().ResourceClaims(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("get resource claim %s/%s: %w", pod.Namespace, name, err)
		}
		if err := claimUsable(pod, claim); err != nil {
			return err
		}
	}
	return nil
}

// claimName is the claim that an entry of spec.resourceClaims stands for; "" for none.
func claimName(pod *corev1.Pod, ref *corev1.PodResourceClaim) (string, error) {
	if ref.ResourceClaimName != nil {
		return *ref.ResourceClaimName, nil
	}
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.Name == ref.Name {
			if s.ResourceClaimName == nil {
				return "", nil
			}
			return *s.ResourceClaimName, nil
		}
	}
	return "", fmt.Errorf("resource claim %q of the pod has not been made yet", ref.Name)
}

func claimUsable(pod *corev1.Pod, claim *resourcev1.ResourceClaim) error {
	name := claim.Namespace + "/" + claim.Name
	if claim.Status.Allocation == nil {
		return fmt.Errorf("resource claim %s is not allocated", name)
	}
	if !slices.ContainsFunc(claim.Status.ReservedFor, func(r resourcev1.ResourceClaimConsumerReference) bool { return r.UID == pod.UID }) {
		return fmt.Errorf("pod %s(%s) is not allowed to use resource claim %s(%s)", pod.Name, pod.UID, claim.Name, claim.UID)
	}
	for _, r := range claim.Status.Allocation.Devices.Results {
		return fmt.Errorf("resource claim %s: DRA driver %s is not registered on this node", name, r.Driver)
	}
	return nil
}
