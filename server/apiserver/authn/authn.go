// Package authn finds out who calls: by client certificate, by bearer token. Authenticators are asked in order; each
// knows the caller, or has nothing to say, or refuses. It starts no goroutine; what it remembers is bounded.
package authn

import (
	"encoding/base64"
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

// websocketBearer begins the subprotocol by which a browser, which can set no header on a websocket, sends a token.
const websocketBearer = "base64url.bearer.authorization.k8s.io."

// Bearer returns the token of an Authorization header, or of a websocket's subprotocol.
func Bearer(r *http.Request) string {
	if scheme, token, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(token)
	}
	if len(r.Header["Sec-Websocket-Protocol"]) == 0 || !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return ""
	}
	var token string
	var rest []string
	for _, list := range r.Header["Sec-Websocket-Protocol"] {
		for protocol := range strings.SplitSeq(list, ",") {
			protocol = strings.TrimSpace(protocol)
			encoded, ok := strings.CutPrefix(protocol, websocketBearer)
			if !ok {
				rest = append(rest, protocol)
				continue
			}
			decoded, err := base64.RawURLEncoding.DecodeString(encoded)
			if err != nil || token != "" {
				return "" // not a token, or more than one
			}
			token = string(decoded)
		}
	}
	// The token must not be echoed as the protocol that was agreed on, so there has to be another one.
	if token == "" || len(rest) == 0 {
		return ""
	}
	r.Header.Set("Sec-Websocket-Protocol", strings.Join(rest, ", "))
	return token
}

// authenticated adds the group of all who said who they are.
func authenticated(groups []string) []string {
	if slices.Contains(groups, wellknown.GroupAuthenticated) {
		return groups
	}
	return append(slices.Clip(groups), wellknown.GroupAuthenticated)
}
