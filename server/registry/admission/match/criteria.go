package match

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Criteria are the rules and selectors of one webhook, policy or binding. Immutable.
type Criteria struct {
	rules, exclude []admissionv1.NamedRuleWithOperations
	// all: without rules everything matches (policies), not nothing (webhooks).
	all                 bool
	equivalent          bool
	namespaces, objects labels.Selector
}

// OfWebhook compiles what a webhook matches.
func OfWebhook(w *admissionv1.MutatingWebhook) (*Criteria, error) {
	c := &Criteria{equivalent: w.MatchPolicy != nil && *w.MatchPolicy == admissionv1.Equivalent}
	for _, r := range w.Rules {
		c.rules = append(c.rules, admissionv1.NamedRuleWithOperations{RuleWithOperations: r})
	}
	return c, c.selectors(w.NamespaceSelector, w.ObjectSelector)
}

// OfResources compiles what a policy or a binding matches.
func OfResources(m *admissionv1.MatchResources) (*Criteria, error) {
	if m.NamespaceSelector == nil || m.ObjectSelector == nil {
		return nil, fmt.Errorf("a nil selector was passed, please ensure selectors are initialized properly")
	}
	c := &Criteria{rules: m.ResourceRules, exclude: m.ExcludeResourceRules, all: len(m.ResourceRules) == 0,
		equivalent: m.MatchPolicy != nil && *m.MatchPolicy == admissionv1.Equivalent}
	return c, c.selectors(m.NamespaceSelector, m.ObjectSelector)
}

func (c *Criteria) selectors(namespaces, objects *metav1.LabelSelector) (err error) {
	if c.namespaces, err = metav1.LabelSelectorAsSelector(namespaces); err != nil {
		return err
	}
	c.objects, err = metav1.LabelSelectorAsSelector(objects)
	return err
}

// Match says whether the subject is one that the criteria are about, and in which version. An error says that this cannot
// be told: its namespace is not there.
func (c *Criteria) Match(m *Subject) (t Target, ok bool, err error) {
	if _, excluded := c.rule(c.exclude, m); excluded {
		return t, false, nil
	}
	if t, ok = c.rule(c.rules, m); !ok {
		if !c.all {
			return t, false, nil
		}
		t = m.Asked
	}
	if !c.selectsObject(m) {
		return t, false, nil
	}
	in, err := c.selectsNamespace(m)
	return t, in && err == nil, err
}

// rule finds the version in which the first rule matches; the client's own goes before the others.
func (c *Criteria) rule(rules []admissionv1.NamedRuleWithOperations, m *Subject) (Target, bool) {
	for i := range rules {
		if matches(&rules[i], m, m.Asked.Resource) {
			return m.Asked, true
		}
	}
	if c.equivalent && len(m.Attributes.Kind.Versions) > 1 {
		for i := range rules {
			for t := range m.equivalents {
				if matches(&rules[i], m, t.Resource) {
					return t, true
				}
			}
		}
	}
	return Target{}, false
}

func matches(r *admissionv1.NamedRuleWithOperations, m *Subject, as schema.GroupVersionResource) bool {
	return inScope(r.Scope, m) &&
		(slices.Contains(r.Operations, admissionv1.OperationAll) || slices.Contains(r.Operations, admissionv1.OperationType(m.Verb))) &&
		oneOf(r.APIGroups, as.Group) && oneOf(r.APIVersions, as.Version) && resource(r.Resources, as.Resource, m.Subresource) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, m.Name))
}

func inScope(scope *admissionv1.ScopeType, m *Subject) bool {
	if scope == nil {
		return true
	}
	namespaced := m.Namespace != "" && !isNamespace(m.Attributes.Kind)
	switch *scope {
	case admissionv1.NamespacedScope:
		return namespaced
	case admissionv1.ClusterScope:
		return !namespaced
	}
	return *scope == admissionv1.AllScopes
}

func oneOf(list []string, asked string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, asked)
}

// resource matches "pods", "pods/status", "pods/*", "*", "*/scale" and "*/*".
func resource(list []string, name, subresource string) bool {
	for _, text := range list {
		res, sub, _ := strings.Cut(text, "/")
		if (res == "*" || res == name) && (sub == "*" || sub == subresource) {
			return true
		}
	}
	return false
}

// selectsNamespace: what is in no namespace is never spared, except by rules.
func (c *Criteria) selectsNamespace(m *Subject) (bool, error) {
	if c.namespaces.Empty() || m.Namespace == "" && !isNamespace(m.Attributes.Kind) {
		return true, nil
	}
	have, err := m.namespaceLabels()
	if err != nil {
		return false, err
	}
	return c.namespaces.Matches(labels.Set(have)), nil
}

// selectsObject: the new state or the old one has the labels.
func (c *Criteria) selectsObject(m *Subject) bool {
	if c.objects.Empty() {
		return true
	}
	for _, obj := range []runtime.Object{m.Object, m.Old} {
		if meta, ok := m.shown(obj).(metav1.Object); ok && c.objects.Matches(labels.Set(meta.GetLabels())) {
			return true
		}
	}
	return false
}
