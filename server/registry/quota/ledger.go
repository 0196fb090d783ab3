package quota

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Ledger is what the objects of a namespace use of one quota.
type Ledger struct {
	quota *corev1.ResourceQuota
	// settled is what objects use whose usage changes only when they do.
	settled corev1.ResourceList
	// open are the others, by kind and name: pods that may be given up, and claims, which depend on other objects.
	open map[entry]api.Object
}

type entry struct {
	kind *api.Kind
	name string
}

// Open adds up all objects of a view.
func Open(v View, quota *corev1.ResourceQuota) *Ledger {
	l := &Ledger{quota: quota, settled: corev1.ResourceList{}, open: map[entry]api.Object{}}
	for name := range quota.Spec.Hard {
		l.settled[name] = resource.Quantity{Format: resource.DecimalSI}
	}
	for _, kind := range KindsOf(v.Catalogue, quota) {
		for obj := range v.Snapshot.List(kind, quota.Namespace, "") {
			l.enter(v, kind, obj)
		}
	}
	return l
}

// KindsOf are the kinds whose objects can use something of a quota.
func KindsOf(c *api.Catalogue, quota *corev1.ResourceQuota) (kinds []*api.Kind) {
	for _, kind := range c.Kinds() {
		if UsesAny(kind, quota.Spec.Hard) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// Follow brings the ledger over one change.
func (l *Ledger) Follow(v View, e *store.Event) {
	if e.Object == nil || e.Object.GetNamespace() != l.quota.Namespace {
		return
	}
	if e.Old != nil {
		l.strike(v, e.Kind, e.Old)
	}
	if e.Type != store.Deleted {
		l.enter(v, e.Kind, e.Object)
	}
}

// Used is the sum, of every resource that the quota limits.
func (l *Ledger) Used(v View) corev1.ResourceList {
	sum := maps.Clone(l.settled)
	for at, obj := range l.open {
		sumUp(sum, v.Usage(at.kind, obj), (*resource.Quantity).Add)
	}
	return sum
}

// Next is the first time after which somebody uses less without any change; zero if that will not be.
func (l *Ledger) Next(now time.Time) (next time.Time) {
	for _, obj := range l.open {
		if pod, ok := obj.(*corev1.Pod); ok {
			if end, dying := GivenUp(pod); dying && !now.After(end) && (next.IsZero() || end.Before(next)) {
				next = end
			}
		}
	}
	return next
}

func (l *Ledger) enter(v View, kind *api.Kind, obj api.Object) {
	switch {
	case !InScope(l.quota, obj):
	case isOpen(obj):
		l.open[entry{kind, obj.GetName()}] = obj
	default:
		sumUp(l.settled, v.Usage(kind, obj), (*resource.Quantity).Add)
	}
}

func (l *Ledger) strike(v View, kind *api.Kind, obj api.Object) {
	switch {
	case !InScope(l.quota, obj):
	case isOpen(obj):
		delete(l.open, entry{kind, obj.GetName()})
	default:
		sumUp(l.settled, v.Usage(kind, obj), (*resource.Quantity).Sub)
	}
}

func isOpen(obj api.Object) bool {
	switch o := obj.(type) {
	case *corev1.Pod:
		return o.DeletionTimestamp != nil
	case *resourcev1.ResourceClaim:
		return true
	}
	return false
}

// sumUp adds to, or takes from, the amounts that sum has. A zero takes over how the first amount is written.
func sumUp(sum, usage corev1.ResourceList, op func(*resource.Quantity, resource.Quantity)) {
	for name, amount := range usage {
		if total, limited := sum[name]; limited {
			total = total.DeepCopy()
			if total.IsZero() {
				total.Format = amount.Format
			}
			op(&total, amount)
			sum[name] = total
		}
	}
}
