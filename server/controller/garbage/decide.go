package garbage

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
)

type verb string

const (
	deleteObject  verb = "delete"
	dropOwners    verb = "drop owners of"
	unblockOwners verb = "unblock owners of"
	dropFinalizer verb = "drop finalizer of"
	warnNamespace verb = "warn of the owner's namespace of"
)

// step is one write of a plan.
type step struct {
	verb      verb
	target    item
	policy    metav1.DeletionPropagation // of delete
	owners    map[types.UID]bool         // of drop owners
	finalizer string                     // of drop finalizer
	ref       metav1.OwnerReference      // of warn
	changed   bool                       // a step before it changes the target
}

func (s step) String() string {
	text := fmt.Sprintf("%s %s %s/%s", s.verb, s.target.plural(), s.target.obj.GetNamespace(), s.target.obj.GetName())
	switch s.verb {
	case deleteObject:
		return text + " (" + string(s.policy) + ")"
	case dropFinalizer:
		return text + " (" + s.finalizer + ")"
	case warnNamespace:
		return text + " (" + string(s.ref.UID) + ")"
	case unblockOwners:
		return text
	}
	var uids []string
	for uid := range s.owners {
		uids = append(uids, string(uid))
	}
	slices.Sort(uids)
	return text + " (" + strings.Join(uids, " ") + ")"
}

// owner is what one reference of an object means.
type owner struct {
	ref     metav1.OwnerReference
	unknown bool // its kind is not served, so nothing can be said
	foreign bool // a namespaced owner of an object without a namespace: it cannot be found, and never counts as gone
	item    item // obj is nil if it does not exist
	// elsewhere: it does not exist in the object's namespace, but in another one, where a reference does not reach.
	elsewhere bool
}

// have is one object with its owners and dependents, from one snapshot.
type have struct {
	item
	owners     []owner
	dependents []item
}

func observe(s client.Snapshot, it item) have {
	h := have{item: it, dependents: dependents(s, it.obj.GetUID())}
	for _, ref := range it.obj.GetOwnerReferences() {
		found := find(s, it.obj.GetNamespace(), ref)
		h.owners = append(h.owners, owner{ref: ref, unknown: found.kind == nil, item: found,
			foreign: found.kind != nil && found.kind.Namespaced && !it.namespaced(), elsewhere: elsewhere(s, it.obj.GetNamespace(), found, ref)})
	}
	return h
}

// elsewhere tells whether an owner that was not found is in another namespace.
func elsewhere(s client.Snapshot, namespace string, found item, ref metav1.OwnerReference) bool {
	if found.kind == nil || !found.kind.Namespaced || found.obj != nil || namespace == "" {
		return false
	}
	for ns := range client.List[*corev1.Namespace](s, "") {
		if owner := s.Snapshot.Get(found.kind, ns.Name, ref.Name); owner != nil && owner.GetUID() == ref.UID && ns.Name != namespace {
			return true
		}
	}
	return false
}

// decide returns what to do about one object, and tells its author of references that lead into another namespace.
func decide(h have) ([]step, error) {
	plan, err := decideOwners(h)
	if err != nil || h.obj.GetDeletionTimestamp() != nil {
		return plan, err
	}
	var warnings []step
	for _, o := range h.owners {
		if o.foreign || o.elsewhere {
			warnings = append(warnings, step{verb: warnNamespace, target: h.item, ref: o.ref})
		}
	}
	return append(warnings, plan...), nil
}

// decideOwners returns what to do about one object. It is an error when an owner's kind is not served (yet): then nothing may be
// deleted, and the engine looks again later.
func decideOwners(h have) ([]step, error) {
	if h.obj.GetDeletionTimestamp() != nil {
		return decideDeleting(h), nil
	}
	var solid, waiting, dangling int
	drop := map[types.UID]bool{}
	for _, o := range h.owners {
		switch {
		case o.unknown:
			return nil, fmt.Errorf("owner %s %s of %s %s/%s: no such kind is served", o.ref.APIVersion, o.ref.Kind, h.plural(), h.obj.GetNamespace(), h.obj.GetName())
		case o.foreign:
			solid++
		case o.item.obj == nil:
			dangling++
			drop[o.ref.UID] = true
		case o.item.obj.GetDeletionTimestamp() != nil && has(o.item.obj, metav1.FinalizerDeleteDependents):
			waiting++
			drop[o.ref.UID] = true
		default:
			solid++
		}
	}
	switch {
	case dangling+waiting == 0:
		return nil, nil
	case solid > 0:
		return []step{{verb: dropOwners, target: h.item, owners: drop}}, nil
	case waiting > 0 && len(h.dependents) > 0:
		plan := unblock(h)
		return append(plan, step{verb: deleteObject, target: h.item, policy: metav1.DeletePropagationForeground, changed: len(plan) > 0}), nil
	}
	return []step{{verb: deleteObject, target: h.item, policy: policyOf(h.obj)}}, nil
}

// unblock breaks circles: a dependent that is itself waiting for its dependents may, by whatever detour, be waiting for this
// object. So this object stops blocking its owners.
func unblock(h have) []step {
	for _, d := range h.dependents {
		if d.obj.GetDeletionTimestamp() != nil && has(d.obj, metav1.FinalizerDeleteDependents) {
			return []step{{verb: unblockOwners, target: h.item}}
		}
	}
	return nil
}

func policyOf(obj api.Object) metav1.DeletionPropagation {
	switch {
	case has(obj, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case has(obj, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return metav1.DeletePropagationBackground
}

// decideDeleting finishes a deletion that waits for this controller.
func decideDeleting(h have) (plan []step) {
	switch {
	case has(h.obj, metav1.FinalizerOrphanDependents):
		for _, d := range h.dependents {
			plan = append(plan, step{verb: dropOwners, target: d, owners: map[types.UID]bool{h.obj.GetUID(): true}})
		}
		return append(plan, step{verb: dropFinalizer, target: h.item, finalizer: metav1.FinalizerOrphanDependents})
	case has(h.obj, metav1.FinalizerDeleteDependents):
		for _, d := range h.dependents {
			for _, ref := range d.obj.GetOwnerReferences() {
				if ref.UID == h.obj.GetUID() && blocks(ref) && d.obj.GetUID() != ref.UID {
					return nil // its own turn deletes it, and its end wakes this object again
				}
			}
		}
		return []step{{verb: dropFinalizer, target: h.item, finalizer: metav1.FinalizerDeleteDependents}}
	}
	return nil
}

// kindOf is the kind that a reference names, in whichever version it says.
func kindOf(s client.Snapshot, ref metav1.OwnerReference) *api.Kind {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil
	}
	kind, _ := s.Catalogue().ByKind(gv.WithKind(ref.Kind))
	return kind
}
