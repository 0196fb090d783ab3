package api

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *check) rules(rules []rbacv1.PolicyRule, namespaced bool) {
	for i, r := range rules {
		path := at("rules").Index(i)
		if len(r.Verbs) == 0 {
			c.required(path.Child("verbs"), "verbs must contain at least one value")
		}
		if len(r.NonResourceURLs) > 0 {
			if namespaced {
				c.invalid(path.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs")
			}
			if len(r.APIGroups)+len(r.Resources)+len(r.ResourceNames) > 0 {
				c.invalid(path.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs")
			}
			continue
		}
		if len(r.APIGroups) == 0 {
			c.required(path.Child("apiGroups"), "resource rules must supply at least one api group")
		}
		if len(r.Resources) == 0 {
			c.required(path.Child("resources"), "resource rules must supply at least one resource")
		}
	}
}

func validateRole(r *rbacv1.Role) fieldErrors {
	c := &check{}
	c.rules(r.Rules, true)
	return c.errs
}

func validateClusterRole(r *rbacv1.ClusterRole) fieldErrors {
	c := &check{}
	c.rules(r.Rules, false)
	if a := r.AggregationRule; a != nil {
		path := at("aggregationRule", "clusterRoleSelectors")
		if len(a.ClusterRoleSelectors) == 0 {
			c.required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")
		}
		for i := range a.ClusterRoleSelectors {
			c.selector(path.Index(i), &a.ClusterRoleSelectors[i])
			if _, err := metav1.LabelSelectorAsSelector(&a.ClusterRoleSelectors[i]); err != nil {
				c.invalid(path.Index(i), a.ClusterRoleSelectors[i], "invalid label selector.")
			}
		}
	}
	return c.errs
}

func (c *check) binding(ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool, kinds ...string) {
	path := at("roleRef")
	if ref.APIGroup != rbacv1.GroupName {
		c.add(field.NotSupported(path.Child("apiGroup"), ref.APIGroup, []string{rbacv1.GroupName}))
	}
	if ref.Kind == "" {
		c.add(field.NotSupported(path.Child("kind"), ref.Kind, kinds))
	}
	oneOfIfSet(c, path.Child("kind"), ref.Kind, kinds...)
	c.name(path.Child("name"), ref.Name, dnsName(roleName))
	for i, s := range subjects {
		c.subject(at("subjects").Index(i), s, namespaced)
	}
}

func (c *check) subject(at *field.Path, s rbacv1.Subject, namespaced bool) {
	c.needs(at.Child("name"), s.Name)
	group := rbacv1.GroupName
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		c.nameIfSet(at.Child("name"), s.Name, serviceAccountName)
		if !namespaced && s.Namespace == "" {
			c.required(at.Child("namespace"), "")
		}
		group = ""
	case rbacv1.UserKind, rbacv1.GroupKind:
	default:
		c.add(field.NotSupported(at.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
		return
	}
	if s.APIGroup != group {
		c.add(field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{group}))
	}
}

func validateRoleBinding(b *rbacv1.RoleBinding) fieldErrors {
	c := &check{}
	c.binding(b.RoleRef, b.Subjects, true, "Role", "ClusterRole")
	return c.errs
}

func validateClusterRoleBinding(b *rbacv1.ClusterRoleBinding) fieldErrors {
	c := &check{}
	c.binding(b.RoleRef, b.Subjects, false, "ClusterRole")
	return c.errs
}

// What a binding grants cannot change: a new role is a new binding.
const roleRefChanged = "cannot change roleRef"

func validateRoleBindingUpdate(b, old *rbacv1.RoleBinding) fieldErrors {
	c := &check{errs: validateRoleBinding(b)}
	if b.RoleRef != old.RoleRef {
		c.invalid(at("roleRef"), b.RoleRef, roleRefChanged)
	}
	return c.errs
}

func validateClusterRoleBindingUpdate(b, old *rbacv1.ClusterRoleBinding) fieldErrors {
	c := &check{errs: validateClusterRoleBinding(b)}
	if b.RoleRef != old.RoleRef {
		c.invalid(at("roleRef"), b.RoleRef, roleRefChanged)
	}
	return c.errs
}
