package authn

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// The headers by which a front proxy tells who the user is.
const (
	headerUser        = "X-Remote-User"
	headerUID         = "X-Remote-Uid"
	headerGroup       = "X-Remote-Group"
	headerExtraPrefix = "X-Remote-Extra-"
)

// RequestHeader believes a front proxy: one whose certificate is of its own authority (not of the one for users) and has
// one of the names. From anybody else the headers mean nothing.
func RequestHeader(roots *x509.CertPool, names []string, now func() time.Time) Authenticator {
	proxies := NewCertificates(roots, now)
	return Func(func(r *http.Request) (user.Info, error) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 || r.Header.Get(headerUser) == "" {
			return nil, nil
		}
		proxy, err := proxies.Authenticate(r)
		if err != nil {
			return nil, nil // a user's certificate, perhaps: others will say
		}
		if len(names) > 0 && !slices.Contains(names, proxy.GetName()) {
			return nil, fmt.Errorf("x509: subject with cn=%s is not in the allowed list", proxy.GetName())
		}
		return remoteUser(r.Header), nil
	})
}

// remoteUser reads the headers and takes them away.
func remoteUser(h http.Header) user.Info {
	u := &user.DefaultInfo{Name: h.Get(headerUser), UID: h.Get(headerUID), Groups: slices.Clone(h.Values(headerGroup)), Extra: map[string][]string{}}
	if u.Name != wellknown.UserAnonymous && !slices.Contains(u.Groups, wellknown.GroupUnauthenticated) {
		u.Groups = authenticated(u.Groups)
	}
	for name, values := range h {
		key, ok := strings.CutPrefix(name, headerExtraPrefix)
		if !ok {
			continue
		}
		key = strings.ToLower(key)
		if plain, err := url.PathUnescape(key); err == nil {
			key = plain
		}
		u.Extra[key] = values
		delete(h, name)
	}
	for _, name := range []string{headerUser, headerUID, headerGroup} {
		h.Del(name)
	}
	return u
}
