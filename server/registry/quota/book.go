package quota

import (
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Since is store.Store's.
type Since func(rev int64, kinds []*api.Kind) (*store.Snapshot, []*store.Event, bool)

// Book keeps the ledgers of quotas from one question to the next: adding up anew costs as much as there are objects.
// It is safe for concurrent use.
type Book struct {
	catalogue *api.Catalogue
	since     Since

	mu sync.Mutex
	// pages by the quota's "namespace/name".
	pages map[string]*page
}

// page is a ledger as of a revision.
type page struct {
	*Ledger
	kinds []*api.Kind
	rev   int64
}

// NewBook is empty.
func NewBook(c *api.Catalogue, since Since) *Book {
	return &Book{catalogue: c, since: since, pages: map[string]*page{}}
}

// Used is what the namespace of a quota uses of it in the newest snapshot, which it returns too; next is when that gets
// less by itself (zero: never).
func (b *Book) Used(quota *corev1.ResourceQuota, now time.Time) (used corev1.ResourceList, snap *store.Snapshot, next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := View{Catalogue: b.catalogue, Now: now}
	p := b.open(&v, quota)
	return p.Used(v), v.Snapshot, p.Next(now)
}

// open brings a quota's page up to the newest snapshot, which it puts into the view.
func (b *Book) open(v *View, quota *corev1.ResourceQuota) *page {
	key, kinds := quota.Namespace+"/"+quota.Name, KindsOf(b.catalogue, quota)
	if p := b.pages[key]; p != nil && slices.Equal(p.kinds, kinds) && apiequality.Semantic.DeepEqual(p.quota.Spec, quota.Spec) {
		snap, events, ok := b.since(p.rev, kinds)
		if v.Snapshot = snap; ok {
			for _, e := range events {
				p.Follow(*v, e)
			}
			p.rev = snap.Revision()
			return p
		}
	}
	snap, _, cached := b.since(math.MaxInt64, kinds)
	v.Snapshot = snap
	p := &page{Ledger: Open(*v, quota), kinds: kinds, rev: snap.Revision()}
	b.forget(snap)
	if cached {
		b.pages[key] = p
	}
	return p
}

// forget drops the pages of quotas that are gone.
func (b *Book) forget(snap *store.Snapshot) {
	kind := b.catalogue.ByObject(&corev1.ResourceQuota{})
	maps.DeleteFunc(b.pages, func(_ string, p *page) bool { return snap.Get(kind, p.quota.Namespace, p.quota.Name) == nil })
}
