package rbac

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"codeberg.org/skiff/skiff/server/apiserver/authz"
)

// allows tells whether one rule lets a request through.
func allows(rule *rbacv1.PolicyRule, a *authz.Attributes) bool {
	if !has(rule.Verbs, a.Verb, rbacv1.VerbAll) {
		return false
	}
	if !a.IsResource() {
		return matchesURL(rule.NonResourceURLs, a.Path)
	}
	return has(rule.APIGroups, a.Group, rbacv1.APIGroupAll) &&
		matchesResource(rule.Resources, a.Resource, a.Subresource) &&
		(len(rule.ResourceNames) == 0 || has(rule.ResourceNames, a.Name, ""))
}

func has(list []string, s, all string) bool {
	for _, have := range list {
		if have == s || all != "" && have == all {
			return true
		}
	}
	return false
}

// matchesResource: "pods", "pods/log", "*/scale" and "*". A SubjectAccessReview may ask for the combined name "pods/log" and no subresource.
func matchesResource(list []string, resource, sub string) bool {
	for _, have := range list {
		if have == rbacv1.ResourceAll || sub == "" && have == resource {
			return true
		}
		name, below, _ := strings.Cut(have, "/")
		if below == sub && (name == resource || name == "*" && sub != "") {
			return true
		}
	}
	return false
}

// matchesURL: exact, or a prefix that ends with a star.
func matchesURL(list []string, path string) bool {
	for _, have := range list {
		if have == rbacv1.NonResourceAll || have == path {
			return true
		}
		if prefix, ok := strings.CutSuffix(have, "*"); ok && strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// uncovered returns the first part of want that owned does not allow, as a rule of one verb on one thing; nil if none.
func uncovered(owned, want []rbacv1.PolicyRule) *rbacv1.PolicyRule {
	for i := range want {
		for single := range singles(&want[i]) {
			if !coveredBy(owned, &single) {
				return &single
			}
		}
	}
	return nil
}

// singles yields a rule taken apart.
func singles(r *rbacv1.PolicyRule) func(yield func(rbacv1.PolicyRule) bool) {
	return func(yield func(rbacv1.PolicyRule) bool) {
		names := r.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range r.Verbs {
			for _, url := range r.NonResourceURLs {
				if !yield(rbacv1.PolicyRule{Verbs: []string{verb}, NonResourceURLs: []string{url}}) {
					return
				}
			}
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, name := range names {
						one := rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: []string{resource}}
						if name != "" {
							one.ResourceNames = []string{name}
						}
						if !yield(one) {
							return
						}
					}
				}
			}
		}
	}
}

func coveredBy(owned []rbacv1.PolicyRule, single *rbacv1.PolicyRule) bool {
	for i := range owned {
		if covers(&owned[i], single) {
			return true
		}
	}
	return false
}

func covers(rule, single *rbacv1.PolicyRule) bool {
	if !has(rule.Verbs, single.Verbs[0], rbacv1.VerbAll) {
		return false
	}
	if len(single.NonResourceURLs) > 0 {
		return matchesURL(rule.NonResourceURLs, single.NonResourceURLs[0])
	}
	resource, sub, _ := strings.Cut(single.Resources[0], "/")
	if !has(rule.APIGroups, single.APIGroups[0], rbacv1.APIGroupAll) || !matchesResource(rule.Resources, resource, sub) {
		return false
	}
	return len(rule.ResourceNames) == 0 || len(single.ResourceNames) > 0 && has(rule.ResourceNames, single.ResourceNames[0], "")
}
