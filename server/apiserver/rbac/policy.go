package rbac

import (
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
)

// policy is the four kinds, compiled: who has which rules where. Immutable.
type policy struct {
	revision int64
	// sources are the objects it was made of, in order.
	sources []api.Object

	clusterRoles map[string]*rbacv1.ClusterRole
	roles        map[string]*rbacv1.Role // namespace/name
	all          []*rbacv1.ClusterRole

	cluster    grants            // by ClusterRoleBindings
	namespaces map[string]grants // by RoleBindings
}

// grants are what bindings of one scope give, by user and by group.
type grants struct {
	users, groups map[string][]grant
}

type grant struct {
	rules []rbacv1.PolicyRule
	// reason is told when the grant allows something.
	reason string
	// missing is told when the role does not exist.
	missing string
}

func compile(sources []api.Object) *policy {
	p := &policy{sources: sources, clusterRoles: map[string]*rbacv1.ClusterRole{}, roles: map[string]*rbacv1.Role{}, namespaces: map[string]grants{}}
	for _, obj := range sources {
		switch o := obj.(type) {
		case *rbacv1.ClusterRole:
			p.clusterRoles[o.Name] = o
			p.all = append(p.all, o)
		case *rbacv1.Role:
			p.roles[o.Namespace+"/"+o.Name] = o
		}
	}
	p.cluster = newGrants()
	for _, obj := range sources {
		switch o := obj.(type) {
		case *rbacv1.ClusterRoleBinding:
			p.cluster.add(p, fmt.Sprintf("ClusterRoleBinding %q", o.Name), "", o.RoleRef, o.Subjects)
		case *rbacv1.RoleBinding:
			g, ok := p.namespaces[o.Namespace]
			if !ok {
				g = newGrants()
				p.namespaces[o.Namespace] = g
			}
			g.add(p, fmt.Sprintf("RoleBinding %q", o.Name+"/"+o.Namespace), o.Namespace, o.RoleRef, o.Subjects)
		}
	}
	return p
}

func newGrants() grants { return grants{users: map[string][]grant{}, groups: map[string][]grant{}} }

func (g grants) add(p *policy, binding, namespace string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	rules, found := p.rulesOf(namespace, ref)
	for _, s := range subjects {
		one := grant{rules: rules, reason: fmt.Sprintf("RBAC: allowed by %s of %s %q to %s %q", binding, ref.Kind, ref.Name, s.Kind, subjectName(s))}
		if !found {
			one.missing = missingRole(ref)
		}
		switch s.Kind {
		case rbacv1.UserKind:
			g.users[s.Name] = append(g.users[s.Name], one)
		case rbacv1.GroupKind:
			g.groups[s.Name] = append(g.groups[s.Name], one)
		case rbacv1.ServiceAccountKind:
			ns := s.Namespace
			if ns == "" {
				ns = namespace
			}
			name := "system:serviceaccount:" + ns + ":" + s.Name
			g.users[name] = append(g.users[name], one)
		}
	}
}

func subjectName(s rbacv1.Subject) string {
	if s.Namespace != "" {
		return s.Name + "/" + s.Namespace
	}
	return s.Name
}

func missingRole(ref rbacv1.RoleRef) string {
	if ref.Kind == "Role" {
		return fmt.Sprintf("RBAC: role.rbac.authorization.k8s.io %q not found", ref.Name)
	}
	return fmt.Sprintf("RBAC: clusterrole.rbac.authorization.k8s.io %q not found", ref.Name)
}

// rulesOf finds the rules of a role; an aggregated one has those of all it selects as well.
func (p *policy) rulesOf(namespace string, ref rbacv1.RoleRef) ([]rbacv1.PolicyRule, bool) {
	if ref.Kind == "Role" {
		role, ok := p.roles[namespace+"/"+ref.Name]
		if !ok {
			return nil, false
		}
		return role.Rules, true
	}
	role, ok := p.clusterRoles[ref.Name]
	if !ok {
		return nil, false
	}
	return p.aggregate(role, map[string]bool{}), true
}

func (p *policy) aggregate(role *rbacv1.ClusterRole, seen map[string]bool) []rbacv1.PolicyRule {
	if role.AggregationRule == nil || seen[role.Name] {
		return role.Rules
	}
	seen[role.Name] = true
	rules := append([]rbacv1.PolicyRule(nil), role.Rules...)
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			continue
		}
		for _, other := range p.all {
			if other.Name != role.Name && selector.Matches(labels.Set(other.Labels)) {
				rules = append(rules, p.aggregate(other, seen)...)
			}
		}
	}
	return rules
}

// visit calls f with each grant of a user in a namespace and at cluster scope, until f returns false.
func (p *policy) visit(u user.Info, namespace string, f func(*grant) bool) {
	if !p.cluster.visit(u, f) || namespace == "" {
		return
	}
	if g, ok := p.namespaces[namespace]; ok {
		g.visit(u, f)
	}
}

func (g grants) visit(u user.Info, f func(*grant) bool) bool {
	users := g.users[u.GetName()]
	for i := range users {
		if !f(&users[i]) {
			return false
		}
	}
	for _, name := range u.GetGroups() {
		groups := g.groups[name]
		for i := range groups {
			if !f(&groups[i]) {
				return false
			}
		}
	}
	return true
}
