package rbac

import (
	"context"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/registry"
)

// Escalation is the admission step that keeps users from giving what they do not have: a role may hold, and a binding may
// give, only rules that its writer has, unless the writer may "escalate" or "bind" that role.
// authorizer is the whole chain; z tells the writer's rules.
func (z *Authorizer) Escalation(authorizer authz.Authorizer) registry.Plugin {
	return registry.Plugin{Name: "RBACEscalation", Validate: func(ctx context.Context, a *registry.Attributes) error {
		if a.Kind.Group != rbacv1.GroupName || a.Verb != "CREATE" && a.Verb != "UPDATE" || a.User == nil ||
			slices.Contains(a.User.GetGroups(), wellknown.GroupMasters) {
			return nil
		}
		want, namespace, verb, role := z.granted(a.Object, a.Old)
		if len(want) == 0 && role.Name == "" {
			return nil
		}
		ask := &authz.Attributes{User: a.User, Verb: verb, Group: rbacv1.GroupName, Version: "*", Resource: strings.ToLower(role.Kind) + "s", Name: role.Name}
		if role.Kind == "Role" {
			ask.Namespace = namespace
		}
		if decision, _ := authorizer.Opinion(ctx, ask); decision == authz.Allow {
			return nil
		}
		if role.missing {
			return apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: ask.Resource}, role.Name)
		}
		missing := uncovered(z.RulesFor(a.User, namespace), want)
		if missing == nil {
			return nil
		}
		return apierrors.NewForbidden(a.Kind.GroupResource(), a.Name, fmt.Errorf(
			"user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s", a.User.GetName(), a.User.GetGroups(), compact(missing)))
	}}
}

type roleName struct {
	Kind, Name string
	missing    bool
}

// granted says which rules a write gives, where, and which verb on which role makes that legal in any case.
func (z *Authorizer) granted(obj, old runtime.Object) (rules []rbacv1.PolicyRule, namespace, verb string, role roleName) {
	switch o := obj.(type) {
	case *rbacv1.ClusterRole:
		if before, ok := old.(*rbacv1.ClusterRole); ok && apiequality.Semantic.DeepEqual(before.Rules, o.Rules) &&
			apiequality.Semantic.DeepEqual(before.AggregationRule, o.AggregationRule) {
			return
		}
		rules = o.Rules
		if o.AggregationRule != nil { // may come to hold anything
			rules = append(slices.Clone(rules), rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
				rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}})
		}
		return rules, "", "escalate", roleName{Kind: "ClusterRole", Name: o.Name}
	case *rbacv1.Role:
		if before, ok := old.(*rbacv1.Role); ok && apiequality.Semantic.DeepEqual(before.Rules, o.Rules) {
			return
		}
		return o.Rules, o.Namespace, "escalate", roleName{Kind: "Role", Name: o.Name}
	case *rbacv1.ClusterRoleBinding:
		if before, ok := old.(*rbacv1.ClusterRoleBinding); ok && before.RoleRef == o.RoleRef && apiequality.Semantic.DeepEqual(before.Subjects, o.Subjects) {
			return
		}
		return z.bound("", o.RoleRef)
	case *rbacv1.RoleBinding:
		if before, ok := old.(*rbacv1.RoleBinding); ok && before.RoleRef == o.RoleRef && apiequality.Semantic.DeepEqual(before.Subjects, o.Subjects) {
			return
		}
		return z.bound(o.Namespace, o.RoleRef)
	}
	return
}

func (z *Authorizer) bound(namespace string, ref rbacv1.RoleRef) ([]rbacv1.PolicyRule, string, string, roleName) {
	rules, found := z.current().rulesOf(namespace, ref)
	return rules, namespace, "bind", roleName{Kind: ref.Kind, Name: ref.Name, missing: !found}
}

// compact writes a rule on one line, as upstream's message does.
func compact(r *rbacv1.PolicyRule) string {
	var parts []string
	add := func(name string, values []string) {
		if len(values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", name, values))
		}
	}
	add("APIGroups", r.APIGroups)
	add("Resources", r.Resources)
	add("ResourceNames", r.ResourceNames)
	add("NonResourceURLs", r.NonResourceURLs)
	add("Verbs", r.Verbs)
	return "{" + strings.Join(parts, ", ") + "}"
}
