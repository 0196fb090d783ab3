// Package review answers the questions that one can POST: who is this token, may this user do that, what may I do, who
// am I. Nothing of them is stored; each is a registry.Action. It starts no goroutine.
package review

import (
	"context"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/registry"
)

// Config names who knows the answers.
type Config struct {
	Authorizer authz.Authorizer
	// Rules of a user in a namespace, for SelfSubjectRulesReview.
	Rules func(u user.Info, namespace string) []rbacv1.PolicyRule
	// Incomplete says why Rules are not all that a user may do; "" or nil: they are.
	Incomplete func() string
	// Token tells whose a token is and for which of the audiences (none: the API server's own) it is good.
	Token func(ctx context.Context, token string, audiences []string) (user.Info, []string, error)
}

const (
	authentication = "authentication.k8s.io"
	authorization  = "authorization.k8s.io"
)

// Actions for registry.Config.
func Actions(c Config) []registry.Action {
	return []registry.Action{
		action(authentication, "tokenreviews", c.tokenReview),
		action(authentication, "selfsubjectreviews", selfSubjectReview),
		action(authorization, "subjectaccessreviews", c.subjectAccessReview),
		action(authorization, "localsubjectaccessreviews", c.localSubjectAccessReview),
		action(authorization, "selfsubjectaccessreviews", c.selfSubjectAccessReview),
		action(authorization, "selfsubjectrulesreviews", c.selfSubjectRulesReview),
	}
}

// action gives a typed func a copy of the body to answer in.
func action[T runtime.Object](group, resource string, run func(context.Context, registry.Request, T) error) registry.Action {
	return registry.Action{Group: group, Resource: resource, Run: func(ctx context.Context, _ *registry.Registry, req registry.Request, body runtime.Object) (runtime.Object, error) {
		typed, ok := body.DeepCopyObject().(T)
		if !ok {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("not a %s: %T", resource, body))
		}
		if err := run(ctx, req, typed); err != nil {
			return nil, err
		}
		return typed, nil
	}}
}

func invalid(group, kind string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: group, Kind: kind}, "", errs)
}

func (c Config) tokenReview(ctx context.Context, _ registry.Request, r *authenticationv1.TokenReview) error {
	if r.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	r.Status = authenticationv1.TokenReviewStatus{}
	if c.Token == nil {
		return nil
	}
	u, audiences, err := c.Token(ctx, r.Spec.Token, r.Spec.Audiences)
	if err != nil {
		r.Status.Error = err.Error()
		return nil
	}
	if u != nil {
		r.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: registry.UserInfo(u), Audiences: audiences}
	}
	return nil
}

func selfSubjectReview(_ context.Context, req registry.Request, r *authenticationv1.SelfSubjectReview) error {
	r.Status.UserInfo = registry.UserInfo(req.User)
	return nil
}

func (c Config) subjectAccessReview(ctx context.Context, _ registry.Request, r *authorizationv1.SubjectAccessReview) error {
	if err := invalid(authorization, "SubjectAccessReview", subjectErrors(&r.Spec)); err != nil {
		return err
	}
	r.Status = c.decide(ctx, subject(&r.Spec), r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return nil
}

func (c Config) localSubjectAccessReview(ctx context.Context, req registry.Request, r *authorizationv1.LocalSubjectAccessReview) error {
	errs, spec := subjectErrors(&r.Spec), field.NewPath("spec")
	if r.Spec.NonResourceAttributes != nil {
		errs = append(errs, field.Invalid(spec.Child("nonResourceAttributes"), r.Spec.NonResourceAttributes, "disallowed on this kind of request"))
	}
	if a := r.Spec.ResourceAttributes; a != nil && a.Namespace != req.Namespace {
		errs = append(errs, field.Invalid(spec.Child("resourceAttributes", "namespace"), a.Namespace, "must match metadata.namespace"))
	}
	if err := invalid(authorization, "LocalSubjectAccessReview", errs); err != nil {
		return err
	}
	r.Status = c.decide(ctx, subject(&r.Spec), r.Spec.ResourceAttributes, nil)
	return nil
}

func (c Config) selfSubjectAccessReview(ctx context.Context, req registry.Request, r *authorizationv1.SelfSubjectAccessReview) error {
	errs := attributeErrors(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes != nil)
	if err := invalid(authorization, "SelfSubjectAccessReview", errs); err != nil {
		return err
	}
	r.Status = c.decide(ctx, req.User, r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return nil
}

func attributeErrors(attributes *authorizationv1.ResourceAttributes, path bool) field.ErrorList {
	spec, resource := field.NewPath("spec"), attributes != nil
	if resource && !path {
		return selectorErrors(attributes, spec.Child("resourceAttributes"))
	}
	switch {
	case resource && path:
		return field.ErrorList{field.Invalid(spec.Child("nonResourceAttributes"), "", "cannot be specified in combination with resourceAttributes")}
	case !resource && !path:
		return field.ErrorList{field.Invalid(spec.Child("resourceAttributes"), "", "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
	}
	return nil
}

// selectorErrors: a selector is one text or a list of requirements, each with the values its operator wants.
func selectorErrors(a *authorizationv1.ResourceAttributes, path *field.Path) (errs field.ErrorList) {
	check := func(path *field.Path, raw string, requirements int) {
		switch {
		case raw != "" && requirements > 0:
			errs = append(errs, field.Invalid(path.Child("rawSelector"), raw, "may not specified at the same time as requirements"))
		case raw == "" && requirements == 0:
			errs = append(errs, field.Required(path.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", path)))
		}
	}
	values := func(path *field.Path, key, operator string, n int) {
		if key == "" {
			errs = append(errs, field.Required(path.Child("key"), "must be specified"))
		}
		switch operator {
		case string(metav1.LabelSelectorOpIn), string(metav1.LabelSelectorOpNotIn):
			if n == 0 {
				errs = append(errs, field.Required(path.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
			}
		case string(metav1.LabelSelectorOpExists), string(metav1.LabelSelectorOpDoesNotExist):
			if n > 0 {
				errs = append(errs, field.Forbidden(path.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
			}
		default:
			errs = append(errs, field.Invalid(path.Child("operator"), operator, "not a valid selector operator"))
		}
	}
	if f := a.FieldSelector; f != nil {
		path := path.Child("fieldSelector")
		check(path, f.RawSelector, len(f.Requirements))
		for i, r := range f.Requirements {
			values(path.Child("requirements").Index(i), r.Key, string(r.Operator), len(r.Values))
		}
	}
	if l := a.LabelSelector; l != nil {
		path := path.Child("labelSelector")
		check(path, l.RawSelector, len(l.Requirements))
		for i, r := range l.Requirements {
			values(path.Child("requirements").Index(i), r.Key, string(r.Operator), len(r.Values))
		}
	}
	return errs
}

func subjectErrors(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := attributeErrors(s.ResourceAttributes, s.NonResourceAttributes != nil)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), s.User, "at least one of user or group must be specified"))
	}
	return errs
}

func subject(s *authorizationv1.SubjectAccessReviewSpec) user.Info {
	u := &user.DefaultInfo{Name: s.User, UID: s.UID, Groups: s.Groups}
	for key, values := range s.Extra {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[key] = values
	}
	return u
}

func (c Config) decide(ctx context.Context, u user.Info, resource *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	a := &authz.Attributes{User: u}
	if resource != nil {
		a.Verb, a.Group, a.Version, a.Resource, a.Subresource = resource.Verb, resource.Group, resource.Version, resource.Resource, resource.Subresource
		a.Namespace, a.Name = resource.Namespace, resource.Name
		if f := resource.FieldSelector; f != nil {
			a.Fields = fieldTerms(f)
		}
		if l := resource.LabelSelector; l != nil {
			a.Labels = labelTerms(l)
		}
	} else {
		a.Verb, a.Path = path.Verb, path.Path
	}
	decision, reason := c.Authorizer.Opinion(ctx, a)
	return authorizationv1.SubjectAccessReviewStatus{Allowed: decision == authz.Allow, Denied: decision == authz.Deny, Reason: reason}
}

func fieldTerms(f *authorizationv1.FieldSelectorAttributes) string {
	if f.RawSelector != "" {
		return f.RawSelector
	}
	var terms []string
	for _, r := range f.Requirements {
		if r.Operator == "In" && len(r.Values) == 1 {
			terms = append(terms, r.Key+"="+r.Values[0])
		}
	}
	return strings.Join(terms, ",")
}

// labelTerms writes requirements as a selector. One of a form that is not known is left out: more is asked for then.
func labelTerms(l *authorizationv1.LabelSelectorAttributes) string {
	if l.RawSelector != "" {
		return l.RawSelector
	}
	selector := labels.NewSelector()
	for _, r := range l.Requirements {
		one, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{r}})
		if err != nil {
			continue
		}
		more, _ := one.Requirements()
		selector = selector.Add(more...)
	}
	return selector.String()
}

func (c Config) selfSubjectRulesReview(_ context.Context, req registry.Request, r *authorizationv1.SelfSubjectRulesReview) error {
	if r.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	r.Status = authorizationv1.SubjectRulesReviewStatus{ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{}}
	if c.Rules == nil {
		r.Status.Incomplete = true
		return nil
	}
	if c.Incomplete != nil {
		if reason := c.Incomplete(); reason != "" {
			r.Status.Incomplete, r.Status.EvaluationError = true, reason
		}
	}
	for _, rule := range c.Rules(req.User, r.Spec.Namespace) {
		if len(rule.NonResourceURLs) > 0 {
			r.Status.NonResourceRules = append(r.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
		if len(rule.Resources) > 0 {
			r.Status.ResourceRules = append(r.Status.ResourceRules, authorizationv1.ResourceRule{Verbs: rule.Verbs, APIGroups: rule.APIGroups,
				Resources: rule.Resources, ResourceNames: rule.ResourceNames})
		}
	}
	return nil
}
