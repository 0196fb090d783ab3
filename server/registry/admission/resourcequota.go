package admission

import (
	"context"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	rules "codeberg.org/skiff/skiff/server/registry/quota"
	"codeberg.org/skiff/skiff/server/store"
)

// resourceQuota keeps the objects of a namespace within its ResourceQuotas: creates, and updates by which an object uses
// more or comes into a quota's scope. An update that raises nothing is let through, however much is used.
//
// What is used is the sum over the newest snapshot, not the quota's status, so it is never stale; writes that are not
// visible there yet are added from held. Looking and holding is one step under mu. Nothing has to be given back: a write
// that fails is held no longer, and an object that goes is not in the next snapshot.
// With several servers the charge must move into the quota's status, with compare and swap, as upstream has it.
func resourceQuota(c *Config) registry.Plugin {
	q := &quotas{Config: c, held: map[string]map[*charge]bool{}, book: rules.NewBook(c.Catalogue, c.Store.Since)}
	return registry.Plugin{Name: "ResourceQuota", Validate: func(_ context.Context, a *registry.Attributes) error {
		kind := c.Catalogue.ByObject(&corev1.ResourceQuota{})
		if kind == nil || a.Namespace == "" {
			return nil
		}
		if len(c.Settings.LimitedResources) > 0 && q.concerns(a) {
			if err := q.covered(a); err != nil {
				return err
			}
		}
		if c.Store.Snapshot().Count(kind, a.Namespace) == 0 || !q.concerns(a) {
			return nil
		}
		return q.admit(a)
	}}
}

type quotas struct {
	*Config
	mu sync.Mutex
	// held is what the writes under way are charged, by namespace.
	held map[string]map[*charge]bool
	book *rules.Book
}

// charge is one write under way.
type charge struct {
	rules.Change
	kind            *api.Kind
	namespace, name string
	// revision of the object that it replaces; "" if it makes a new one.
	revision string
}

// visible tells whether a snapshot counts the object already as the write leaves it. If instead somebody else was
// quicker, the write is going to fail.
func (c *charge) visible(s *store.Snapshot) bool {
	obj := s.Get(c.kind, c.namespace, c.name)
	if c.revision == "" {
		return obj != nil
	}
	return obj == nil || obj.GetResourceVersion() != c.revision
}

func (q *quotas) concerns(a *registry.Attributes) bool {
	if !rules.Counted(a.Kind) {
		return false
	}
	return a.Verb == registry.VerbCreate && a.Subresource == "" || a.Verb == registry.VerbUpdate && rules.Grows(a.Kind, a.Subresource)
}

func (q *quotas) admit(a *registry.Attributes) error {
	mine := q.chargeOf(a)
	q.mu.Lock()
	defer q.mu.Unlock()
	holds := false
	for _, quota := range list[*corev1.ResourceQuota](q.Config, q.Store.Snapshot(), a.Namespace) {
		if !rules.UsesAny(a.Kind, quota.Spec.Hard) {
			continue
		}
		growth := mine.Growth(quota)
		if err := q.check(a, quota, mine, growth); err != nil {
			return err
		}
		holds = holds || len(growth) > 0
	}
	if holds && !a.DryRun {
		q.hold(mine)
		a.AfterWrite(func(bool) { q.release(mine) })
	}
	return nil
}

func (q *quotas) hold(c *charge) {
	if q.held[c.namespace] == nil {
		q.held[c.namespace] = map[*charge]bool{}
	}
	q.held[c.namespace][c] = true
}

func (q *quotas) release(c *charge) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.held[c.namespace], c)
	if len(q.held[c.namespace]) == 0 {
		delete(q.held, c.namespace)
	}
}

func (q *quotas) chargeOf(a *registry.Attributes) *charge {
	v := rules.View{Catalogue: q.Catalogue, Snapshot: q.Store.Snapshot(), Now: q.now()}
	c := &charge{Change: rules.Change{New: a.Object, NewUsage: v.Usage(a.Kind, a.Object)}, kind: a.Kind, namespace: a.Namespace, name: a.Name}
	if old, ok := a.Old.(api.Object); ok {
		c.Old, c.OldUsage, c.revision = old, v.Usage(a.Kind, old), old.GetResourceVersion()
	}
	return c
}

// check refuses what would go over one quota.
func (q *quotas) check(a *registry.Attributes, quota *corev1.ResourceQuota, mine *charge, growth corev1.ResourceList) error {
	if len(growth) > 0 || mine.Enters(quota) {
		if missing := rules.Unspecified(quota, mine.New); missing != "" {
			return forbidden(a, "failed quota: %s: %s", quota.Name, missing)
		}
	}
	if len(growth) == 0 {
		return nil
	}
	used := q.used(quota)
	var over []corev1.ResourceName
	for name, amount := range growth {
		sum := used[name].DeepCopy()
		sum.Add(amount)
		if hard := quota.Spec.Hard[name]; sum.Cmp(hard) > 0 {
			over = append(over, name)
		}
	}
	if len(over) == 0 {
		return nil
	}
	return forbidden(a, "exceeded quota: %s, requested: %s, used: %s, limited: %s",
		quota.Name, show(growth, over), show(used, over), show(quota.Spec.Hard, over))
}

// used is what the namespace has, and what is under way.
func (q *quotas) used(quota *corev1.ResourceQuota) corev1.ResourceList {
	used, snap, _ := q.book.Used(quota, q.now())
	for c := range q.held[quota.Namespace] {
		if c.visible(snap) {
			continue
		}
		for name, amount := range c.Growth(quota) {
			sum := used[name].DeepCopy()
			sum.Add(amount)
			used[name] = sum
		}
	}
	return used
}

// show prints amounts as "cpu=1,pods=2".
func show(amounts corev1.ResourceList, names []corev1.ResourceName) string {
	slices.Sort(names)
	parts := make([]string, len(names))
	for i, name := range names {
		amount := amounts[name]
		parts[i] = string(name) + "=" + amount.String()
	}
	return strings.Join(parts, ",")
}
