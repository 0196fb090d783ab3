// Package storageprotection lets go of storage objects whose deletion has begun, once nobody uses them: a claim when no
// pod on a node mounts it, a volume when it is not bound, a class of attributes when no claim and no volume names it.
// Admission has put the finalizers on (StorageObjectInUseProtection); objects from before that get them here.
//
// A claim that is being deleted stays until the last pod that mounts it has gone, even one that has ended, as upstream
// has it: its volumes may still be mounted.
package storageprotection

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"codeberg.org/skiff/skiff/internal/podrefs"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// protector is what the three loops have in common.
type protector[T api.Object] struct {
	finalizer string
	// used says whether somebody still needs the object.
	used func(s client.Snapshot, obj T) bool
}

// NewClaims protects PersistentVolumeClaims; keys are "namespace/name".
func NewClaims() controller.Controller {
	p := protector[*corev1.PersistentVolumeClaim]{wellknown.FinalizerClaimProtection, claimUsed}
	return controller.Controller{Name: "pvc-protection-controller", Reconcile: p.reconcile, Inputs: []controller.Input{
		{Kind: &corev1.PersistentVolumeClaim{}, Keys: p.keys},
		{Kind: &corev1.Pod{}, Keys: func(s client.Snapshot, e *store.Event) (out []string) {
			pod := e.Object.(*corev1.Pod)
			if e.Type != store.Deleted && pod.Spec.NodeName != "" {
				return nil // it uses what it uses until it is gone
			}
			for _, name := range claimsOf(pod) {
				if claim, ok := client.Get[*corev1.PersistentVolumeClaim](s, pod.Namespace, name); ok && p.decide(claim) != nothing {
					out = append(out, pod.Namespace+"/"+name)
				}
			}
			return out
		}},
	}}
}

// NewVolumes protects PersistentVolumes; keys are names.
func NewVolumes() controller.Controller {
	p := protector[*corev1.PersistentVolume]{wellknown.FinalizerVolumeProtection, func(_ client.Snapshot, v *corev1.PersistentVolume) bool {
		return v.Status.Phase == corev1.VolumeBound
	}}
	return controller.Controller{Name: "pv-protection-controller", Reconcile: p.reconcile, Inputs: []controller.Input{{Kind: &corev1.PersistentVolume{}, Keys: p.keys}}}
}

// NewAttributesClasses protects VolumeAttributesClasses; keys are names.
func NewAttributesClasses() controller.Controller {
	p := protector[*storagev1.VolumeAttributesClass]{wellknown.FinalizerAttributesClassProtection, classUsed}
	// Whatever a claim or a volume no longer names may be free now.
	all := func(s client.Snapshot, e *store.Event) (out []string) {
		if e.Type == store.Added {
			return nil
		}
		for class := range client.List[*storagev1.VolumeAttributesClass](s, "") {
			if class.DeletionTimestamp != nil {
				out = append(out, class.Name)
			}
		}
		return out
	}
	return controller.Controller{Name: "volumeattributesclass-protection-controller", Reconcile: p.reconcile, Inputs: []controller.Input{
		{Kind: &storagev1.VolumeAttributesClass{}, Keys: p.keys},
		{Kind: &corev1.PersistentVolumeClaim{}, Keys: all},
		{Kind: &corev1.PersistentVolume{}, Keys: all},
	}}
}

// claimsOf are the names of the claims that a pod mounts, its own ephemeral ones among them.
func claimsOf(pod *corev1.Pod) (out []string) {
	for i := range pod.Spec.Volumes {
		if name := podrefs.ClaimName(pod, &pod.Spec.Volumes[i]); name != "" {
			out = append(out, name)
		}
	}
	return out
}

// claimUsed: a pod that is not on a node yet does not count, for kubelets start none whose claim is being deleted.
func claimUsed(s client.Snapshot, claim *corev1.PersistentVolumeClaim) bool {
	for pod := range client.List[*corev1.Pod](s, claim.Namespace) {
		if pod.Spec.NodeName != "" && slices.Contains(claimsOf(pod), claim.Name) {
			return true
		}
	}
	return false
}

func classUsed(s client.Snapshot, class *storagev1.VolumeAttributesClass) bool {
	named := func(name *string) bool { return name != nil && *name == class.Name }
	for claim := range client.List[*corev1.PersistentVolumeClaim](s, "") {
		modify := claim.Status.ModifyVolumeStatus
		if named(claim.Spec.VolumeAttributesClassName) || named(claim.Status.CurrentVolumeAttributesClassName) ||
			modify != nil && modify.TargetVolumeAttributesClassName == class.Name {
			return true
		}
	}
	for v := range client.List[*corev1.PersistentVolume](s, "") {
		if named(v.Spec.VolumeAttributesClassName) {
			return true
		}
	}
	return false
}

// What there is to do about an object, before asking who uses it.
type todo int

const (
	nothing todo = iota
	protect      // it has no finalizer
	release      // its deletion waits for ours
)

func (p protector[T]) decide(obj T) todo {
	held := slices.Contains(obj.GetFinalizers(), p.finalizer)
	switch deleted := obj.GetDeletionTimestamp() != nil; {
	case deleted && held:
		return release
	case !deleted && !held:
		return protect
	}
	return nothing
}

func (p protector[T]) keys(_ client.Snapshot, e *store.Event) []string {
	obj := e.Object.(T)
	if e.Type == store.Deleted || p.decide(obj) == nothing {
		return nil
	}
	return []string{keyOf(obj)}
}

func keyOf(obj api.Object) string {
	if obj.GetNamespace() == "" {
		return obj.GetName()
	}
	return obj.GetNamespace() + "/" + obj.GetName()
}

func (p protector[T]) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, found := strings.Cut(key, "/")
	if !found {
		namespace, name = "", key
	}
	s := c.Snapshot()
	obj, ok := client.Get[T](s, namespace, name)
	if !ok {
		return controller.Result{}, nil
	}
	what := p.decide(obj)
	if what == nothing || what == release && p.used(s, obj) {
		return controller.Result{}, nil
	}
	_, err := client.Change(ctx, c, obj, "", func(next T) {
		without := slices.DeleteFunc(slices.Clone(next.GetFinalizers()), func(f string) bool { return f == p.finalizer })
		if what == protect {
			without = append(without, p.finalizer)
		}
		next.SetFinalizers(without)
	})
	if controller.IgnoreGone(err) != nil {
		return controller.Result{}, fmt.Errorf("protection of %s: %w", key, err)
	}
	return controller.Result{}, nil
}
