// Package authn finds out who calls: by client certificate, by bearer token. Authenticators are asked in order; each
// knows the caller, or has nothing to say, or refuses. It starts no goroutine; what it remembers is bounded.
package authn

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// Authenticator says who sent a request. A nil user without an error means that it cannot tell.
type Authenticator interface {
	Authenticate(r *http.Request) (user.Info, error)
}

// Func makes an Authenticator of a function.
type Func func(r *http.Request) (user.Info, error)

// Authenticate calls the function.
func (f Func) Authenticate(r *http.Request) (user.Info, error) { return f(r) }

// Anonymous is who calls without saying who.
var Anonymous user.Info = &user.DefaultInfo{Name: wellknown.UserAnonymous, Groups: []string{wellknown.GroupUnauthenticated}}

// Bearer returns the token of an Authorization header, or of a websocket's subprotocol (browsers can set no header).
func Bearer(r *http.Request) string {
	if scheme, token, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

// authenticated adds the group of all who said who they are.
func authenticated(groups []string) []string {
	if slices.Contains(groups, wellknown.GroupAuthenticated) {
		return groups
	}
	return append(slices.Clip(groups), wellknown.GroupAuthenticated)
}

// Tokens authenticates static tokens. find returns nil for a token it does not know; it must compare in constant time.
func Tokens(find func(token string) user.Info) Authenticator {
	return Func(func(r *http.Request) (user.Info, error) {
		token := Bearer(r)
		if token == "" {
			return nil, nil
		}
		u := find(token)
		if u == nil {
			return nil, nil
		}
		return &user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: authenticated(u.GetGroups()), Extra: u.GetExtra()}, nil
	})
}
