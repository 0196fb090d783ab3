package api

import (
	"fmt"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
)

const maxMatchingPrecedence = 10000

func validateFlowSchema(f *flowcontrolv1.FlowSchema) fieldErrors {
	c, spec, s := &check{}, at("spec"), &f.Spec
	path, n := spec.Child("matchingPrecedence"), s.MatchingPrecedence
	switch {
	case n <= 0:
		c.invalid(path, n, "must be a positive value")
	case n > maxMatchingPrecedence:
		c.invalid(path, n, fmt.Sprintf("must not be greater than %d", maxMatchingPrecedence))
	case n == 1 && f.Name != flowcontrolv1.FlowSchemaNameExempt:
		c.invalid(path, n, "only the schema named 'exempt' may have matchingPrecedence 1")
	}
	if m := s.DistinguisherMethod; m != nil {
		allowed := []flowcontrolv1.FlowDistinguisherMethodType{flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType}
		if !slices.Contains(allowed, m.Type) {
			c.add(field.NotSupported(spec.Child("distinguisherMethod", "type"), m.Type, allowed))
		}
	}
	if name := s.PriorityLevelConfiguration.Name; name == "" {
		c.required(spec.Child("priorityLevelConfiguration", "name"), "must reference a priority level")
	} else {
		c.invalid(spec.Child("priorityLevelConfiguration", "name"), name, subdomain(name)...)
	}
	for i := range s.Rules {
		c.flowRule(spec.Child("rules").Index(i), &s.Rules[i])
	}
	for _, fixed := range bootstrap.MandatoryFlowSchemas {
		if fixed.Name == f.Name && !apiequality.Semantic.DeepEqual(fixed.Spec, f.Spec) {
			c.invalid(spec, f.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", f.Name))
		}
	}
	return c.errs
}

func (c *check) flowRule(at *field.Path, r *flowcontrolv1.PolicyRulesWithSubjects) {
	if len(r.Subjects) == 0 {
		c.required(at.Child("subjects"), "subjects must contain at least one value")
	}
	for i := range r.Subjects {
		c.flowSubject(at.Child("subjects").Index(i), &r.Subjects[i])
	}
	if len(r.ResourceRules)+len(r.NonResourceRules) == 0 {
		c.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty")
	}
	for i := range r.ResourceRules {
		c.flowResources(at.Child("resourceRules").Index(i), &r.ResourceRules[i])
	}
	for i, nr := range r.NonResourceRules {
		path := at.Child("nonResourceRules").Index(i)
		c.flowVerbs(path, nr.Verbs)
		if !c.wildcard(path.Child("nonResourceURLs"), nr.NonResourceURLs, "nonResourceURLs must contain at least one value", "non-resource URLs") {
			for j, url := range nr.NonResourceURLs {
				if wrong := wrongURLPath(url); wrong != "" {
					c.invalid(path.Child("nonResourceURLs").Index(j), url, wrong)
				}
			}
		}
	}
}

func (c *check) flowSubject(at *field.Path, s *flowcontrolv1.Subject) {
	members := []struct {
		kind  flowcontrolv1.SubjectKind
		field string
		set   bool
	}{
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil},
		{flowcontrolv1.SubjectKindUser, "user", s.User != nil},
		{flowcontrolv1.SubjectKindGroup, "group", s.Group != nil},
	}
	var kinds []flowcontrolv1.SubjectKind
	for _, m := range members {
		kinds = append(kinds, m.kind)
	}
	if !slices.Contains(kinds, s.Kind) {
		slices.Sort(kinds)
		c.add(field.NotSupported(at.Child("kind"), s.Kind, kinds))
		return
	}
	for _, m := range members {
		switch {
		case m.kind == s.Kind && !m.set:
			c.required(at.Child(m.field), fmt.Sprintf("%s is required when subject kind is '%s'", m.field, m.kind))
		case m.kind == s.Kind:
			c.flowSubjectMember(at.Child(m.field), s)
		case m.set:
			c.forbidden(at.Child(m.field), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", m.field, m.kind))
		}
	}
}

func (c *check) flowSubjectMember(at *field.Path, s *flowcontrolv1.Subject) {
	switch s.Kind {
	case flowcontrolv1.SubjectKindUser:
		c.needs(at.Child("name"), s.User.Name)
	case flowcontrolv1.SubjectKindGroup:
		c.needs(at.Child("name"), s.Group.Name)
	default:
		if name := s.ServiceAccount.Name; c.needs(at.Child("name"), name) && name != flowcontrolv1.NameAll {
			c.invalid(at.Child("name"), name, apivalidation.ValidateServiceAccountName(name, false)...)
		}
		if ns := s.ServiceAccount.Namespace; ns == "" {
			c.required(at.Child("namespace"), "must specify namespace for service account")
		} else {
			c.invalid(at.Child("namespace"), ns, apivalidation.ValidateNamespaceName(ns, false)...)
		}
	}
}

var flowVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

func (c *check) flowVerbs(at *field.Path, verbs []string) {
	if c.wildcard(at.Child("verbs"), verbs, "verbs must contain at least one value", "verbs") {
		return
	}
	for _, v := range verbs {
		if !slices.Contains(flowVerbs, v) {
			c.add(field.NotSupported(at.Child("verbs"), verbs, flowVerbs))
			return
		}
	}
}

// wildcard checks a list that holds either "*" alone or names; it says that the list is empty or has the wildcard.
func (c *check) wildcard(at *field.Path, list []string, missing, what string) bool {
	if len(list) == 0 {
		c.required(at, missing)
		return true
	}
	all := slices.Contains(list, "*")
	if all && len(list) > 1 {
		c.invalid(at, list, "if '*' is present, must not specify other "+what)
	}
	return all
}

func (c *check) flowResources(at *field.Path, r *flowcontrolv1.ResourcePolicyRule) {
	c.flowVerbs(at, r.Verbs)
	c.wildcard(at.Child("apiGroups"), r.APIGroups, "resource rules must supply at least one api group", "api groups")
	c.wildcard(at.Child("resources"), r.Resources, "resource rules must supply at least one resource", "resources")
	if r.ClusterScope && len(r.Namespaces) == 0 {
		return
	}
	path := at.Child("namespaces")
	if c.wildcard(path, r.Namespaces, "resource rules that are not cluster scoped must supply at least one namespace", "namespaces") {
		return
	}
	for i, ns := range r.Namespaces {
		for _, wrong := range apivalidation.ValidateNamespaceName(ns, false) {
			c.invalid(path.Index(i), ns, "each member of this list must be '*' or a DNS-1123 label; "+wrong)
		}
	}
}

func wrongURLPath(path string) string {
	switch {
	case path == "":
		return "must not be empty"
	case path == "/":
	case !strings.HasPrefix(path, "/"):
		return "must start with slash"
	case strings.Contains(path, " "):
		return "must not contain white-space"
	case strings.Contains(path, "//"):
		return "must not contain double slash"
	case strings.Contains(strings.TrimSuffix(path, "/*"), "*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}

func validateFlowSchemaStatus(f, _ *flowcontrolv1.FlowSchema) fieldErrors {
	c, types := &check{}, once{}
	for i, cond := range f.Status.Conditions {
		path := at("status", "conditions").Index(i).Child("type")
		types.add(c, path, string(cond.Type))
		c.needs(path, string(cond.Type))
	}
	return c.errs
}
