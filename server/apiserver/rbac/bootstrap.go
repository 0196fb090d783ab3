package rbac

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
)

// bootstrapText is the policy of a new cluster:
//
//	clusterrole <name> [+<aggregated into>]   or   role <namespace>/<name>
//	  aggregate <name>                        the rules of all roles marked +<name>
//	  <verbs> <group>: <resources> [= <names>]  "core" is the group ""
//	  <verbs> /<path> …
//	  bound [as <binding>] to <subjects>      user:x, group:x, sa:<namespace>/<name>
//
// In verbs, ro is get,list,watch; write is create,delete,deletecollection,patch,update; rw is both.
//
//go:embed bootstrap.txt
var bootstrapText string

const (
	autoUpdate     = rbacv1.AutoUpdateAnnotationKey
	aggregateLabel = "rbac.authorization.k8s.io/aggregate-to-"
)

// Bootstrap returns the roles and bindings that a cluster begins with, and that Reconcile keeps complete.
func Bootstrap() []api.Object {
	objects, err := parse(bootstrapText)
	if err != nil {
		panic(err) // the text is part of the program; a test parses it
	}
	return objects
}

// BootstrapRules are the rules of one of the ClusterRoles of a new cluster; nil if there is none of that name.
func BootstrapRules(name string) []rbacv1.PolicyRule {
	for _, obj := range Bootstrap() {
		if role, ok := obj.(*rbacv1.ClusterRole); ok && role.Name == name {
			return role.Rules
		}
	}
	return nil
}

// Allows tells whether one of the rules lets a request through.
func Allows(rules []rbacv1.PolicyRule, a *authz.Attributes) bool {
	for i := range rules {
		if allows(&rules[i], a) {
			return true
		}
	}
	return false
}

var verbSets = map[string][]string{
	"ro":    {"get", "list", "watch"},
	"write": {"create", "delete", "deletecollection", "patch", "update"},
	"rw":    {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
}

func parse(text string) ([]api.Object, error) {
	p := parser{}
	for n, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var err error
		if body, indented := strings.CutPrefix(line, "  "); indented {
			err = p.body(body)
		} else {
			err = p.head(strings.Fields(line))
		}
		if err != nil {
			return nil, fmt.Errorf("bootstrap.txt:%d: %w", n+1, err)
		}
	}
	return p.fill(), nil
}

// parser collects roles, then their bindings.
type parser struct {
	roles, bindings []api.Object
	// the role being read: rules and name point into it.
	rules     *[]rbacv1.PolicyRule
	cluster   *rbacv1.ClusterRole
	namespace string
	name      string
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name,
		Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{autoUpdate: "true"},
	}
}

func (p *parser) head(words []string) error {
	if len(words) < 2 {
		return fmt.Errorf("want a kind and a name")
	}
	p.cluster, p.namespace, p.name = nil, "", words[1]
	switch words[0] {
	case "clusterrole":
		role := &rbacv1.ClusterRole{ObjectMeta: meta("", p.name)}
		for _, into := range words[2:] {
			role.Labels[aggregateLabel+strings.TrimPrefix(into, "+")] = "true"
		}
		p.cluster, p.rules = role, &role.Rules
		p.roles = append(p.roles, role)
	case "role":
		var ok bool
		if p.namespace, p.name, ok = strings.Cut(words[1], "/"); !ok {
			return fmt.Errorf("want role <namespace>/<name>")
		}
		role := &rbacv1.Role{ObjectMeta: meta(p.namespace, p.name)}
		p.rules = &role.Rules
		p.roles = append(p.roles, role)
	default:
		return fmt.Errorf("unknown kind %q", words[0])
	}
	return nil
}

func (p *parser) body(line string) error {
	words := strings.Fields(line)
	switch {
	case len(words) < 2 || p.rules == nil:
		return fmt.Errorf("cannot read %q", line)
	case words[0] == "aggregate":
		p.cluster.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
			{MatchLabels: map[string]string{aggregateLabel + words[1]: "true"}}}}
		return nil
	case words[0] == "bound":
		return p.bind(words[1:])
	}
	rule := rbacv1.PolicyRule{Verbs: parseVerbs(words[0])}
	if group, ok := strings.CutSuffix(words[1], ":"); ok {
		if group == "core" {
			group = ""
		}
		rule.APIGroups, rule.Resources = []string{group}, words[2:]
		if i := slices.Index(words, "="); i > 0 {
			rule.Resources, rule.ResourceNames = words[2:i], words[i+1:]
		}
	} else {
		rule.NonResourceURLs = words[1:]
	}
	*p.rules = append(*p.rules, rule)
	return nil
}

func parseVerbs(text string) (verbs []string) {
	for _, v := range strings.Split(text, ",") {
		if set, ok := verbSets[v]; ok {
			verbs = append(verbs, set...)
		} else {
			verbs = append(verbs, v)
		}
	}
	slices.Sort(verbs)
	return verbs
}

func (p *parser) bind(words []string) error {
	name := p.name
	if len(words) > 1 && words[0] == "as" {
		name, words = words[1], words[2:]
	}
	if len(words) == 0 || words[0] != "to" {
		return fmt.Errorf("want bound [as <name>] to <subjects>")
	}
	var subjects []rbacv1.Subject
	for _, word := range words[1:] {
		kind, who, ok := strings.Cut(word, ":")
		if word == "nobody" {
			continue
		}
		s := rbacv1.Subject{APIGroup: rbacv1.GroupName, Name: who}
		switch {
		case ok && kind == "user":
			s.Kind = rbacv1.UserKind
		case ok && kind == "group":
			s.Kind = rbacv1.GroupKind
		case ok && kind == "sa":
			s.Kind, s.APIGroup = rbacv1.ServiceAccountKind, ""
			s.Namespace, s.Name, _ = strings.Cut(who, "/")
		default:
			return fmt.Errorf("unknown subject %q", word)
		}
		subjects = append(subjects, s)
	}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: p.name}
	if p.cluster != nil {
		ref.Kind = "ClusterRole"
		p.bindings = append(p.bindings, &rbacv1.ClusterRoleBinding{ObjectMeta: meta("", name), RoleRef: ref, Subjects: subjects})
	} else {
		p.bindings = append(p.bindings, &rbacv1.RoleBinding{ObjectMeta: meta(p.namespace, name), RoleRef: ref, Subjects: subjects})
	}
	return nil
}

// fill writes the rules of aggregated roles, so that who reads them sees them, and returns everything.
func (p *parser) fill() []api.Object {
	compiled := compile(p.roles)
	for _, obj := range p.roles {
		if role, ok := obj.(*rbacv1.ClusterRole); ok && role.AggregationRule != nil {
			role.Rules = dedupe(compiled.aggregate(role, map[string]bool{}))
		}
	}
	return append(p.roles, p.bindings...)
}

func dedupe(rules []rbacv1.PolicyRule) (out []rbacv1.PolicyRule) {
	for _, r := range rules {
		if !slices.ContainsFunc(out, func(o rbacv1.PolicyRule) bool { return apiequality.Semantic.DeepEqual(o, r) }) {
			out = append(out, r)
		}
	}
	return out
}

// Reconcile returns what have must become so that it holds at least what want does; nil when it does already or when its
// annotation forbids it. What users added stays.
func Reconcile(have, want api.Object) api.Object {
	if have.GetAnnotations()[autoUpdate] == "false" {
		return nil
	}
	next := have.DeepCopyObject().(api.Object)
	changed := false
	switch h := next.(type) {
	case *rbacv1.ClusterRole:
		w := want.(*rbacv1.ClusterRole)
		changed = addRules(&h.Rules, w.Rules)
		if w.AggregationRule != nil && h.AggregationRule == nil {
			h.AggregationRule, changed = w.AggregationRule, true
		}
	case *rbacv1.Role:
		changed = addRules(&h.Rules, want.(*rbacv1.Role).Rules)
	case *rbacv1.ClusterRoleBinding:
		changed = addSubjects(&h.Subjects, want.(*rbacv1.ClusterRoleBinding).Subjects)
	case *rbacv1.RoleBinding:
		changed = addSubjects(&h.Subjects, want.(*rbacv1.RoleBinding).Subjects)
	}
	labels := next.GetLabels()
	for key, value := range want.GetLabels() {
		if labels[key] != value {
			if labels == nil {
				labels = map[string]string{}
			}
			labels[key], changed = value, true
		}
	}
	if !changed {
		return nil
	}
	next.SetLabels(labels)
	return next
}

func addRules(have *[]rbacv1.PolicyRule, want []rbacv1.PolicyRule) (changed bool) {
	for i := range want {
		if uncovered(*have, want[i:i+1]) != nil {
			*have, changed = append(*have, want[i]), true
		}
	}
	return changed
}

func addSubjects(have *[]rbacv1.Subject, want []rbacv1.Subject) (changed bool) {
	for _, s := range want {
		if !slices.Contains(*have, s) {
			*have, changed = append(*have, s), true
		}
	}
	return changed
}
