package api

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateRule checks which requests a webhook or a policy wants to see.
func validateRule(c *check, path *field.Path, r *admissionv1.RuleWithOperations) {
	if len(r.Operations) == 0 {
		c.required(path.Child("operations"), "")
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionv1.OperationAll) {
		c.invalid(path.Child("operations"), r.Operations, "if '*' is present, must not specify other operations")
	}
	for i := range r.Operations {
		supported(c, path.Child("operations").Index(i), &r.Operations[i], ruleOperations)
	}
	wildcardOrList(c, path.Child("apiGroups"), r.APIGroups, "API groups")
	wildcardOrList(c, path.Child("apiVersions"), r.APIVersions, "API versions")
	for i, v := range r.APIVersions {
		c.needs(path.Child("apiVersions").Index(i), v)
	}
	validateRuleResources(c, path.Child("resources"), r.Resources)
	supported(c, path.Child("scope"), r.Scope, ruleScopes)
}

func wildcardOrList(c *check, path *field.Path, list []string, what string) {
	if len(list) == 0 {
		c.required(path, "")
	}
	if len(list) > 1 && slices.Contains(list, "*") {
		c.invalid(path, list, "if '*' is present, must not specify other "+what)
	}
}

// validateRuleResources: a wildcard must not stand beside what it holds already.
func validateRuleResources(c *check, path *field.Path, list []string) {
	if len(list) == 0 {
		c.required(path, "")
	}
	wholeResource, wholeSubresource := map[string]bool{}, map[string]bool{} // x/* and */x
	plain := false
	for i, text := range list {
		if !c.needs(path.Index(i), text) {
			continue
		}
		resource, sub, found := strings.Cut(text, "/")
		if !found {
			plain = text != "*"
			continue
		}
		if wholeResource[resource] {
			c.invalid(path.Index(i), text, fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, text))
		}
		if wholeSubresource[sub] {
			c.invalid(path.Index(i), text, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, text))
		}
		wholeResource[resource] = wholeResource[resource] || sub == "*"
		wholeSubresource[sub] = wholeSubresource[sub] || resource == "*"
	}
	if len(list) > 1 && slices.Contains(list, "*/*") {
		c.invalid(path, list, "if '*/*' is present, must not specify other resources")
	}
	if plain && slices.Contains(list, "*") {
		c.invalid(path, list, "if '*' is present, must not specify other resources without subresources")
	}
}

// validateMatchResources checks what a policy, or its binding, is about. operations are those that it can be about.
func validateMatchResources(c *check, path *field.Path, m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	if m.MatchPolicy == nil {
		c.required(path.Child("matchPolicy"), "")
	}
	supported(c, path.Child("matchPolicy"), m.MatchPolicy, matchPolicies)
	if m.NamespaceSelector == nil {
		c.required(path.Child("namespaceSelector"), "")
	} else {
		c.selector(path.Child("namespaceSelector"), m.NamespaceSelector)
	}
	if m.ObjectSelector == nil {
		c.required(path.Child("objectSelector"), "")
	} else {
		c.selector(path.Child("objectSelector"), m.ObjectSelector)
	}
	for i := range m.ResourceRules {
		validateNamedRule(c, path.Child("resourceRules").Index(i), &m.ResourceRules[i])
	}
	for i := range m.ExcludeResourceRules {
		validateNamedRule(c, path.Child("excludeResourceRules").Index(i), &m.ExcludeResourceRules[i])
	}
}

func validateNamedRule(c *check, path *field.Path, r *admissionv1.NamedRuleWithOperations) {
	names := once{}
	for i, name := range r.ResourceNames {
		c.invalid(path.Child("resourceNames").Index(i), name, content.IsPathSegmentName(name)...)
		names.add(c, path.Child("resourceNames").Index(i), name)
	}
	validateRule(c, path, &r.RuleWithOperations)
}

// mutableOnly: what is deleted cannot be mutated.
func mutableOnly(c *check, path *field.Path, m *admissionv1.MatchResources) {
	for i := range m.ResourceRules {
		for j := range m.ResourceRules[i].Operations {
			supported(c, path.Child("resourceRules", "operations"), &m.ResourceRules[i].Operations[j], mutableOperations)
		}
	}
}

// validateParamRef checks which objects a binding gives to its policy as parameters.
func validateParamRef(c *check, path *field.Path, r *admissionv1.ParamRef) {
	if r == nil {
		return
	}
	const exclusive = "name and selector are mutually exclusive"
	if r.Name != "" {
		c.invalid(path.Child("name"), r.Name, content.IsPathSegmentName(r.Name)...)
		if r.Selector != nil {
			c.forbidden(path.Child("name"), exclusive)
		}
	}
	if r.Selector != nil {
		c.selector(path.Child("selector"), r.Selector)
		if r.Name != "" {
			c.forbidden(path.Child("selector"), exclusive)
		}
	}
	if r.Name == "" && r.Selector == nil {
		c.required(path, "one of name or selector must be specified")
	}
	if deref(r.ParameterNotFoundAction) == "" {
		c.required(path.Child("parameterNotFoundAction"), "")
		return
	}
	supported(c, path.Child("parameterNotFoundAction"), r.ParameterNotFoundAction,
		[]admissionv1.ParameterNotFoundActionType{admissionv1.AllowAction, admissionv1.DenyAction})
}
