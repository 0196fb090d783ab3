package rbac

import (
	"context"
	"sync"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/store"
)

// Authorizer decides by the roles and bindings of a snapshot. It is an authz.Authorizer.
type Authorizer struct {
	catalogue *api.Catalogue
	snapshot  func() *store.Snapshot

	compiled atomic.Pointer[policy]
	mu       sync.Mutex // held while compiling
}

// New reads roles from the snapshots of a store.
func New(c *api.Catalogue, snapshot func() *store.Snapshot) *Authorizer {
	return &Authorizer{catalogue: c, snapshot: snapshot}
}

// Opinion is Allow when a rule allows the request, and none otherwise.
func (z *Authorizer) Opinion(_ context.Context, a *authz.Attributes) (authz.Decision, string) {
	decision, reason := authz.NoOpinion, ""
	z.current().visit(a.User, a.Namespace, func(g *grant) bool {
		if g.missing != "" && reason == "" {
			reason = g.missing
		}
		for i := range g.rules {
			if allows(&g.rules[i], a) {
				decision, reason = authz.Allow, g.reason
				return false
			}
		}
		return true
	})
	return decision, reason
}

// RulesFor are all rules that a user has in a namespace ("": only those of the cluster scope).
func (z *Authorizer) RulesFor(u user.Info, namespace string) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	z.current().visit(u, namespace, func(g *grant) bool {
		rules = append(rules, g.rules...)
		return true
	})
	return rules
}

// current is the policy of the newest snapshot.
func (z *Authorizer) current() *policy {
	snap := z.snapshot()
	have := z.compiled.Load()
	if have != nil && have.revision >= snap.Revision() {
		return have
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if have = z.compiled.Load(); have != nil && have.revision >= snap.Revision() {
		return have
	}
	var next *policy
	if have != nil && z.unchanged(snap, have.sources) {
		copied := *have
		next = &copied
	} else {
		next = compile(z.sources(snap))
	}
	next.revision = snap.Revision()
	z.compiled.Store(next)
	return next
}

var kinds = []string{"ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding"}

func (z *Authorizer) each(snap *store.Snapshot, f func(api.Object) bool) {
	for _, name := range kinds {
		kind, _ := z.catalogue.ByKind(rbacv1.SchemeGroupVersion.WithKind(name))
		if kind == nil {
			continue
		}
		for obj := range snap.List(kind, "", "") {
			if !f(obj) {
				return
			}
		}
	}
}

func (z *Authorizer) sources(snap *store.Snapshot) (out []api.Object) {
	z.each(snap, func(o api.Object) bool {
		out = append(out, o)
		return true
	})
	return out
}

// unchanged compares pointers: an object that was written is another object.
func (z *Authorizer) unchanged(snap *store.Snapshot, have []api.Object) bool {
	i, same := 0, true
	z.each(snap, func(o api.Object) bool {
		same = i < len(have) && have[i] == o
		i++
		return same
	})
	return same && i == len(have)
}
