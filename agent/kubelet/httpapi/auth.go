package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// ErrUnauthenticated is answered with 401, an error that wraps ErrForbidden with 403; any other error of an Authorizer with 500.
var (
	ErrUnauthenticated = errors.New("Unauthorized")
	ErrForbidden       = errors.New("Forbidden")
)

// Attributes of a request, as RBAC knows them: a verb on nodes/<subresource>. One of the subresources suffices.
type Attributes struct {
	Verb         string
	Subresources []string
}

func (a Attributes) forbidden(user string) error {
	return fmt.Errorf("%w (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", ErrForbidden, user, a.Verb, a.Subresources)
}

// Authorizer decides about requests.
type Authorizer interface {
	Authorize(r *http.Request, a Attributes) error
}

// verbs by method; another method has no verb, which no rule but * allows.
var verbs = map[string]string{http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete"}

// subresources by the first part of the path, as upstream names them. What is not listed runs commands or opens streams: proxy. Where proxy is
// listed too, it has always been enough.
var subresources = map[string][]string{
	"stats": {"stats"}, "metrics": {"metrics"}, "logs": {"log"}, "checkpoint": {"checkpoint"}, "statusz": {"statusz"}, "flagz": {"configz"},
	"pods": {"pods", "proxy"}, "allocatedPods": {"pods", "proxy"}, "runningpods": {"pods", "proxy"},
	"healthz": {"healthz", "proxy"}, "configz": {"configz", "proxy"},
}

func attributes(r *http.Request) Attributes {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	a := Attributes{Verb: verbs[r.Method], Subresources: subresources[first]}
	if a.Subresources == nil {
		a.Subresources = []string{"proxy"}
	}
	return a
}

// Certificates trusts the API server's and the masters' client certificates and nobody else.
type Certificates struct{}

// Authorize implements Authorizer.
func (Certificates) Authorize(r *http.Request, a Attributes) error {
	user, groups, ok := peer(r)
	if !ok {
		return ErrUnauthenticated
	}
	if user == wellknown.UserAPIServer || slices.Contains(groups, wellknown.GroupMasters) {
		return nil
	}
	return a.forbidden(user)
}

func peer(r *http.Request) (user string, groups []string, ok bool) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return "", nil, false
	}
	c := r.TLS.VerifiedChains[0][0]
	return c.Subject.CommonName, slices.Clone(c.Subject.Organization), true
}
