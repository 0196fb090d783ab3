package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// ErrUnauthenticated is answered with 401; any other error with 403.
var ErrUnauthenticated = errors.New("unauthenticated")

// Attributes of a request, as RBAC knows them: a verb on nodes/<subresource>.
type Attributes struct{ Verb, Subresource, Path string }

// Authorizer decides about requests.
type Authorizer interface {
	Authorize(r *http.Request, a Attributes) error
}

func attributes(r *http.Request) Attributes {
	a := Attributes{Verb: "get", Path: r.URL.Path, Subresource: "proxy"}
	switch r.Method {
	case http.MethodPost:
		a.Verb = "create"
	case http.MethodPut:
		a.Verb = "update"
	case http.MethodDelete:
		a.Verb = "delete"
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch first {
	case "stats", "metrics", "pods", "configz":
		a.Subresource = first
	case "runningpods":
		a.Subresource = "pods"
	}
	return a
}

// Certificates trusts the API server's and the masters' client certificates and nobody else.
type Certificates struct{}

// Authorize implements Authorizer.
func (Certificates) Authorize(r *http.Request, _ Attributes) error {
	user, groups, ok := peer(r)
	if !ok {
		return ErrUnauthenticated
	}
	if user == wellknown.UserAPIServer || slices.Contains(groups, wellknown.GroupMasters) {
		return nil
	}
	return fmt.Errorf("user=%s", user)
}

func peer(r *http.Request) (user string, groups []string, ok bool) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return "", nil, false
	}
	c := r.TLS.VerifiedChains[0][0]
	return c.Subject.CommonName, c.Subject.Organization, true
}

// Webhook asks the API server who a bearer token is and what a caller may do. Certificates passes first.
type Webhook struct {
	Client   kubernetes.Interface
	NodeName string

	mu    sync.Mutex
	cache map[string]answer
}

type answer struct {
	err   error
	until time.Time
}

// Authorize implements Authorizer; answers are remembered for some time.
func (h *Webhook) Authorize(r *http.Request, a Attributes) error {
	err := Certificates{}.Authorize(r, a)
	if err == nil {
		return nil
	}
	user, groups, ok := peer(r)
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok && (token == "" || token == r.Header.Get("Authorization")) {
		return ErrUnauthenticated
	}
	key := strings.Join([]string{user, token, a.Verb, a.Subresource}, "\n")
	h.mu.Lock()
	got, hit := h.cache[key]
	h.mu.Unlock()
	if hit && time.Now().Before(got.until) {
		return got.err
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	var extra map[string]authorizationv1.ExtraValue
	if !ok {
		if user, groups, extra, err = h.review(ctx, token); err != nil {
			return err
		}
	}
	err = h.access(ctx, user, groups, extra, a)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cache == nil || len(h.cache) > 1000 {
		h.cache = map[string]answer{}
	}
	h.cache[key] = answer{err, time.Now().Add(30 * time.Second)}
	return err
}

func (h *Webhook) review(ctx context.Context, token string) (string, []string, map[string]authorizationv1.ExtraValue, error) {
	tr, err := h.Client.AuthenticationV1().TokenReviews().Create(ctx,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return "", nil, nil, fmt.Errorf("review of the token: %w", err)
	}
	if !tr.Status.Authenticated {
		return "", nil, nil, ErrUnauthenticated
	}
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range tr.Status.User.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	return tr.Status.User.Username, tr.Status.User.Groups, extra, nil
}

func (h *Webhook) access(ctx context.Context, user string, groups []string, extra map[string]authorizationv1.ExtraValue, a Attributes) error {
	sar, err := h.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: a.Verb, Version: "v1", Resource: "nodes", Subresource: a.Subresource, Name: h.NodeName}},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("review of the access: %w", err)
	}
	if !sar.Status.Allowed {
		return fmt.Errorf("user=%s, verb=%s, resource=nodes, subresource=%s", user, a.Verb, a.Subresource)
	}
	return nil
}
