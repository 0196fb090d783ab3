// Package authz decides whether a user may do something. It holds what all authorizers share: the attributes of a
// request, the opinions, and the ordered chain in which the first opinion wins. Nobody's opinion is a refusal.
//
// It starts no goroutine and reads no storage; authorizers that do (rbac, node) are packages beside it.
package authz

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// Attributes say who wants to do what.
type Attributes struct {
	User user.Info
	// Verb is get, list, watch, create, update, patch, delete, deletecollection, connect's HTTP counterparts, or a
	// special one (impersonate, bind, escalate …); for a path the lower-case HTTP method.
	Verb string
	// Path is set, and the rest empty, when the request is not for a resource.
	Path string

	Group, Version, Resource, Subresource string
	Namespace, Name                       string
	// Fields and Labels are the selectors of a list, watch or deletecollection, as they were sent.
	Fields, Labels string
}

// IsResource tells a resource from a path.
func (a *Attributes) IsResource() bool { return a.Path == "" }

// Decision is an opinion.
type Decision int8

// No opinion leaves it to the next authorizer.
const (
	NoOpinion Decision = iota
	Allow
	Deny
)

// Authorizer gives an opinion and its reason. It must be fast: every request asks.
type Authorizer interface {
	Opinion(ctx context.Context, a *Attributes) (Decision, string)
}

// Func makes an Authorizer of a function.
type Func func(ctx context.Context, a *Attributes) (Decision, string)

// Opinion calls the function.
func (f Func) Opinion(ctx context.Context, a *Attributes) (Decision, string) { return f(ctx, a) }

// Chain asks one after the other; the first opinion wins.
type Chain []Authorizer

// Opinion of the chain, with the reasons of all who had none.
func (c Chain) Opinion(ctx context.Context, a *Attributes) (Decision, string) {
	var reasons []string
	for _, authorizer := range c {
		decision, reason := authorizer.Opinion(ctx, a)
		if decision != NoOpinion {
			return decision, reason
		}
		if reason != "" {
			reasons = append(reasons, reason)
		}
	}
	return NoOpinion, strings.Join(reasons, "; ")
}

// Authorize is what the in-process client asks (server/client.Authorizer).
func (c Chain) Authorize(ctx context.Context, u user.Info, verb, group, resource, subresource, namespace, name string) (bool, string) {
	decision, reason := c.Opinion(ctx, &Attributes{User: u, Verb: verb, Group: group, Version: "*", Resource: resource,
		Subresource: subresource, Namespace: namespace, Name: name})
	return decision == Allow, reason
}

// Masters allows everything to the group system:masters, whatever the roles say, so that nobody can lock himself out.
var Masters Authorizer = Func(func(_ context.Context, a *Attributes) (Decision, string) {
	if slices.Contains(a.User.GetGroups(), wellknown.GroupMasters) {
		return Allow, ""
	}
	return NoOpinion, ""
})

// AlwaysAllow is for tests.
var AlwaysAllow Authorizer = Func(func(context.Context, *Attributes) (Decision, string) { return Allow, "" })

// Forbidden is the 403 for a refused request.
func Forbidden(a *Attributes, reason string) *apierrors.StatusError {
	text := describe(a)
	if reason != "" {
		text += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: a.Group, Resource: a.Resource}, a.Name, fmt.Errorf("%s", text))
}

func describe(a *Attributes) string {
	who := fmt.Sprintf("User %q", a.User.GetName())
	if !a.IsResource() {
		return fmt.Sprintf("%s cannot %s path %q", who, a.Verb, a.Path)
	}
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	text := fmt.Sprintf("%s cannot %s resource %q in API group %q", who, a.Verb, resource, a.Group)
	if a.Namespace != "" {
		return text + fmt.Sprintf(" in the namespace %q", a.Namespace)
	}
	return text + " at the cluster scope"
}
