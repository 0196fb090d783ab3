package fairness

import (
	"cmp"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Request is what a FlowSchema can look at.
type Request struct {
	User user.Info
	Verb string
	// Resource tells requests for resources from others, which have a Path only.
	Resource                              bool
	Group, Plural, Subresource, Namespace string
	Path                                  string
	// Width in seats; 0 counts as 1.
	Width int
}

func (r *Request) userName() string {
	if r.User == nil {
		return ""
	}
	return r.User.GetName()
}

func (r *Request) groups() []string {
	if r.User == nil {
		return nil
	}
	return r.User.GetGroups()
}

// what the request is for, in one word.
func (r *Request) what() string {
	if !r.Resource {
		return r.Path
	}
	if r.Subresource != "" {
		return r.Plural + "/" + r.Subresource
	}
	return r.Plural
}

// schema is a FlowSchema, ready to match.
type schema struct {
	name       string
	precedence int32
	rules      []rule
	class      *Class
	by         flowcontrolv1.FlowDistinguisherMethodType
}

type rule struct {
	subjects  []subject
	resources []resourceRule
	paths     []pathRule
}

// subject matches a user or a group by name.
type subject struct {
	group bool
	// name, or what it begins with: every service account of a namespace.
	name   string
	prefix bool
}

type resourceRule struct {
	verbs, groups, resources, namespaces set
	clusterScope                         bool
}

type pathRule struct {
	verbs set
	paths []string
}

// set of strings; all says that it holds every one.
type set struct {
	all  bool
	list []string
}

func newSet(list []string, all string) set { return set{all: slices.Contains(list, all), list: list} }

func (s set) has(v string) bool { return s.all || slices.Contains(s.list, v) }

func compile(fs *flowcontrolv1.FlowSchema, class *Class) *schema {
	s := &schema{name: fs.Name, precedence: fs.Spec.MatchingPrecedence, class: class}
	if d := fs.Spec.DistinguisherMethod; d != nil {
		s.by = d.Type
	}
	for i := range fs.Spec.Rules {
		s.rules = append(s.rules, compileRule(&fs.Spec.Rules[i]))
	}
	return s
}

func compileRule(in *flowcontrolv1.PolicyRulesWithSubjects) rule {
	var out rule
	for _, sub := range in.Subjects {
		switch {
		case sub.User != nil:
			out.subjects = append(out.subjects, subject{name: sub.User.Name, prefix: false})
		case sub.Group != nil:
			out.subjects = append(out.subjects, subject{group: true, name: sub.Group.Name})
		case sub.ServiceAccount != nil:
			name := "system:serviceaccount:" + sub.ServiceAccount.Namespace + ":"
			if sub.ServiceAccount.Name == flowcontrolv1.NameAll {
				out.subjects = append(out.subjects, subject{name: name, prefix: true})
			} else {
				out.subjects = append(out.subjects, subject{name: name + sub.ServiceAccount.Name})
			}
		}
	}
	for _, r := range in.ResourceRules {
		out.resources = append(out.resources, resourceRule{
			verbs: newSet(r.Verbs, flowcontrolv1.VerbAll), groups: newSet(r.APIGroups, flowcontrolv1.APIGroupAll),
			resources: newSet(r.Resources, flowcontrolv1.ResourceAll), namespaces: newSet(r.Namespaces, flowcontrolv1.NamespaceEvery),
			clusterScope: r.ClusterScope,
		})
	}
	for _, r := range in.NonResourceRules {
		out.paths = append(out.paths, pathRule{verbs: newSet(r.Verbs, flowcontrolv1.VerbAll), paths: r.NonResourceURLs})
	}
	return out
}

func sortSchemas(list []*schema) {
	slices.SortFunc(list, func(a, b *schema) int {
		return cmp.Or(cmp.Compare(a.precedence, b.precedence), cmp.Compare(a.name, b.name))
	})
}

func (s *schema) matches(r *Request, name string, groups []string) bool {
	for i := range s.rules {
		if s.rules[i].matches(r, name, groups) {
			return true
		}
	}
	return false
}

func (u *rule) matches(r *Request, name string, groups []string) bool {
	if !u.hasSubject(name, groups) {
		return false
	}
	if r.Resource {
		for i := range u.resources {
			if u.resources[i].matches(r) {
				return true
			}
		}
		return false
	}
	for i := range u.paths {
		if u.paths[i].matches(r) {
			return true
		}
	}
	return false
}

func (u *rule) hasSubject(name string, groups []string) bool {
	for i := range u.subjects {
		switch s := &u.subjects[i]; {
		case s.group:
			if s.name == flowcontrolv1.NameAll || slices.Contains(groups, s.name) {
				return true
			}
		case s.prefix:
			if strings.HasPrefix(name, s.name) {
				return true
			}
		case s.name == name || s.name == flowcontrolv1.NameAll:
			return true
		}
	}
	return false
}

func (u *resourceRule) matches(r *Request) bool {
	if r.Namespace == "" {
		if !u.clusterScope {
			return false
		}
	} else if !u.namespaces.has(r.Namespace) {
		return false
	}
	return u.verbs.has(r.Verb) && u.groups.has(r.Group) && u.hasResource(r)
}

func (u *resourceRule) hasResource(r *Request) bool {
	if u.resources.all {
		return true
	}
	for _, want := range u.resources.list {
		plural, sub, _ := strings.Cut(want, "/")
		if plural == r.Plural && sub == r.Subresource {
			return true
		}
	}
	return false
}

func (u *pathRule) matches(r *Request) bool {
	if !u.verbs.has(r.Verb) {
		return false
	}
	for _, p := range u.paths {
		if p == flowcontrolv1.NonResourceAll || p == r.Path {
			return true
		}
		if prefix, ok := strings.CutSuffix(p, "*"); ok && strings.HasPrefix(r.Path, prefix) {
			return true
		}
	}
	return false
}
