package api

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ReviewVersions are the versions of AdmissionReview that the server speaks.
var ReviewVersions = []string{"v1", "v1beta1"}

var (
	sideEffects       = []admissionv1.SideEffectClass{admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun}
	oldSideEffects    = append([]admissionv1.SideEffectClass{admissionv1.SideEffectClassSome, admissionv1.SideEffectClassUnknown}, sideEffects...)
	failurePolicies   = []admissionv1.FailurePolicyType{admissionv1.Fail, admissionv1.Ignore}
	matchPolicies     = []admissionv1.MatchPolicyType{admissionv1.Equivalent, admissionv1.Exact}
	reinvocations     = []admissionv1.ReinvocationPolicyType{admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy}
	ruleOperations    = []admissionv1.OperationType{admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update}
	mutableOperations = []admissionv1.OperationType{admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Update}
	ruleScopes        = []admissionv1.ScopeType{admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope}
)

// tolerance is what an update may keep although a new object may not have it.
type tolerance struct {
	sideEffects, reviewVersions, sameNames, labelValues bool
	// conditions did not change and are not looked at again.
	conditions bool
}

// validateWebhooks checks the webhooks of a configuration; old is nil for a new one.
func validateWebhooks(list, old []admissionv1.MutatingWebhook) fieldErrors {
	c := &check{}
	keep := tolerated(list, old)
	x := expressions{check: c, known: map[string]bool{}}
	for i := range old {
		x.knowConditions(old[i].MatchConditions)
	}
	names := once{}
	for i := range list {
		path := at("webhooks").Index(i)
		validateWebhook(x, path, &list[i], keep)
		if !keep.sameNames && list[i].Name != "" {
			names.add(c, path.Child("name"), list[i].Name)
		}
	}
	return c.errs
}

func tolerated(list, old []admissionv1.MutatingWebhook) (t tolerance) {
	if old == nil {
		return t
	}
	t.conditions = len(list) == len(old)
	seen := map[string]bool{}
	for i := range old {
		o := &old[i]
		t.sideEffects = t.sideEffects || o.SideEffects == nil || !slices.Contains(sideEffects, *o.SideEffects)
		t.reviewVersions = t.reviewVersions || len(o.AdmissionReviewVersions) > 0 && !speaksReview(o.AdmissionReviewVersions)
		t.sameNames = t.sameNames || seen[o.Name]
		seen[o.Name] = true
		for _, s := range []*metav1.LabelSelector{o.NamespaceSelector, o.ObjectSelector} {
			t.labelValues = t.labelValues || s != nil && len(metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{}, nil)) > 0
		}
		t.conditions = t.conditions && reflect.DeepEqual(list[i].MatchConditions, o.MatchConditions)
	}
	return t
}

func validateWebhook(x expressions, path *field.Path, w *admissionv1.MutatingWebhook, keep tolerance) {
	c := x.check
	c.add(validation.IsFullyQualifiedName(path.Child("name"), w.Name)...)
	for i := range w.Rules {
		validateRule(c, path.Child("rules").Index(i), &w.Rules[i])
	}
	supported(c, path.Child("failurePolicy"), w.FailurePolicy, failurePolicies)
	supported(c, path.Child("matchPolicy"), w.MatchPolicy, matchPolicies)
	allowed := sideEffects
	if keep.sideEffects {
		allowed = oldSideEffects
	}
	if w.SideEffects == nil {
		c.required(path.Child("sideEffects"), "must specify one of "+joined(allowed))
	}
	supported(c, path.Child("sideEffects"), w.SideEffects, allowed)
	if t := w.TimeoutSeconds; t != nil && (*t > 30 || *t < 1) {
		c.invalid(path.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds")
	}
	selector := metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: keep.labelValues}
	c.add(metavalidation.ValidateLabelSelector(w.NamespaceSelector, selector, path.Child("namespaceSelector"))...)
	c.add(metavalidation.ValidateLabelSelector(w.ObjectSelector, selector, path.Child("objectSelector"))...)
	supported(c, path.Child("reinvocationPolicy"), w.ReinvocationPolicy, reinvocations)
	validateClientConfig(c, path.Child("clientConfig"), &w.ClientConfig)
	if !keep.conditions {
		x.conditions(path.Child("matchConditions"), w.MatchConditions, false)
	}
	validateReviewVersions(c, path.Child("admissionReviewVersions"), w.AdmissionReviewVersions, keep.reviewVersions)
}

// supported says that a value is not among those which are allowed, if there is one.
func supported[T ~string](c *check, path *field.Path, value *T, allowed []T) {
	if value != nil && !slices.Contains(allowed, *value) {
		sorted := slices.Clone(allowed)
		slices.Sort(sorted)
		c.add(field.NotSupported(path, *value, sorted))
	}
}

func joined[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = string(v)
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func speaksReview(versions []string) bool {
	return slices.ContainsFunc(versions, func(v string) bool { return slices.Contains(ReviewVersions, v) })
}

func validateReviewVersions(c *check, path *field.Path, versions []string, anyVersion bool) {
	if len(versions) == 0 {
		c.required(path, "must specify one of "+strings.Join(ReviewVersions, ", "))
		return
	}
	for i, v := range versions {
		if slices.Contains(versions[:i], v) {
			c.invalid(path.Index(i), v, "duplicate version")
			continue
		}
		c.invalid(path.Index(i), v, validation.IsDNS1035Label(v)...)
	}
	if !anyVersion && !speaksReview(versions) {
		c.invalid(path, versions, "must include at least one of "+strings.Join(ReviewVersions, ", "))
	}
}

func validateClientConfig(c *check, path *field.Path, w *admissionv1.WebhookClientConfig) {
	switch {
	case (w.URL == nil) == (w.Service == nil):
		c.required(path, "exactly one of url or service is required")
	case w.URL != nil:
		validateWebhookURL(c, path.Child("url"), *w.URL)
	default:
		validateWebhookService(c, path.Child("service"), w.Service.Namespace, w.Service.Name, w.Service.Path, deref(w.Service.Port))
	}
}

func validateWebhookURL(c *check, path *field.Path, text string) {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		c.required(path, "url must be a valid URL: "+err.Error()+form)
		return
	}
	if u.Scheme != "https" {
		c.invalid(path, u.Scheme, "'https' is the only allowed URL scheme"+form)
	}
	if u.Host == "" {
		c.invalid(path, u.Host, "host must be specified"+form)
	}
	if u.User != nil {
		c.invalid(path, u.User.String(), "user information is not permitted in the URL")
	}
	if u.Fragment != "" {
		c.invalid(path, u.Fragment, "fragments are not permitted in the URL")
	}
	if u.RawQuery != "" {
		c.invalid(path, u.RawQuery, "query parameters are not permitted in the URL")
	}
}

func validateWebhookService(c *check, path *field.Path, namespace, name string, urlPath *string, port int32) {
	c.needs(path.Child("name"), name)
	c.needs(path.Child("namespace"), namespace)
	if errs := validation.IsValidPortNum(int(port)); len(errs) > 0 {
		c.invalid(path.Child("port"), port, "port is not valid: "+strings.Join(errs, ", "))
	}
	text := deref(urlPath)
	if text == "" || text == "/" {
		return
	}
	if !strings.HasPrefix(text, "/") {
		c.invalid(path.Child("path"), text, "must start with a '/'")
	}
	for i, segment := range strings.Split(strings.TrimSuffix(text[1:], "/"), "/") {
		if segment == "" {
			c.invalid(path.Child("path"), text, fmt.Sprintf("segment[%d] may not be empty", i))
			continue
		}
		for _, e := range validation.IsDNS1123Subdomain(segment) {
			c.invalid(path.Child("path"), text, fmt.Sprintf("segment[%d]: %v", i, e))
		}
	}
}

// Unadmitted are the resources that no webhook and no policy is asked about: a mistake in one would lock everybody out.
var Unadmitted = map[string][]string{
	"authentication.k8s.io": {"selfsubjectreviews", "tokenreviews"},
	"authorization.k8s.io":  {"localsubjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews", "subjectaccessreviews"},
}

func webhookWarnings(list []admissionv1.MutatingWebhook) (out []string) {
	for i := range list {
		for j, rule := range list[i].Rules {
			if slices.Contains(rule.APIGroups, "*") || slices.Contains(rule.Resources, "*") {
				continue
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					text := fmt.Sprintf("webhooks[%d].rules[%d]: %s.%s is excluded from admission webhooks; this rule will have no effect", i, j, resource, group)
					if slices.Contains(Unadmitted[group], resource) && !slices.Contains(out, text) {
						out = append(out, text)
					}
				}
			}
		}
	}
	return out
}
