// Package action holds what POST does on create-only subresources: one file each, one table ([Table]).
//
// An action changes stored objects through the registry it is given, like any caller; what a rule for everybody forbids
// (a binding sets spec.nodeName) it writes with UpdateOptions.Internal and answers for itself. It starts no goroutine.
package action

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// Claims of a service account's token. The fields are those of pki.TokenClaims, so that one converts to the other.
type Claims struct {
	Namespace, ServiceAccount, UID string
	Audiences                      []string
	Expires                        time.Time
	// Bound object: its deletion ends the token. Kind is Pod, Secret or Node, or "" for none.
	BoundKind, BoundName, BoundUID string
	// The node of a pod-bound token.
	NodeName, NodeUID string
}

// Config of the actions.
type Config struct {
	// SignToken makes a token of claims and says when it ends, which may be earlier than asked. Nil: no tokens.
	SignToken func(Claims) (token string, expires time.Time, err error)
	// Audiences of a token whose request names none; default wellknown.ServiceAccountIssuer.
	Audiences []string
	// MaxExpiration is how long a token may be good; 0: as long as is asked for.
	MaxExpiration time.Duration
}

// Table returns the actions.
func Table(c Config) []registry.Action {
	t := []registry.Action{
		{Resource: "pods", Subresource: "binding", Run: bind},
		{Resource: "bindings", Run: bind},
		{Resource: "pods", Subresource: "eviction", Run: evict},
	}
	if c.SignToken != nil {
		t = append(t, registry.Action{Resource: "serviceaccounts", Subresource: "token", Run: newTokens(c).request})
	}
	return t
}

// body is what was posted, or 400.
func body[T runtime.Object](sent runtime.Object) (T, error) {
	obj, ok := sent.(T)
	if !ok {
		var want T
		return want, apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized: got a %T, want a %T", sent, want))
	}
	return obj, nil
}

// kindOf finds the kind of a typed object, which an action's own kind may not be (bindings).
func kindOf(r *registry.Registry, obj api.Object) (*api.Kind, error) {
	if k := r.Catalogue().ByObject(obj); k != nil {
		return k, nil
	}
	return nil, apierrors.NewInternalError(fmt.Errorf("the catalogue has no kind for %T", obj))
}

// onPod is the request for the pod itself that the request names.
func onPod(r *registry.Registry, req registry.Request) (registry.Request, error) {
	k, err := kindOf(r, &corev1.Pod{})
	req.Kind, req.Version, req.Subresource = k, nil, ""
	return req, err
}

func ptr[T any](v T) *T { return &v }
