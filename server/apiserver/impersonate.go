package apiserver

import (
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
)

const (
	impersonateUser  = "Impersonate-User"
	impersonateUID   = "Impersonate-Uid"
	impersonateGroup = "Impersonate-Group"
	impersonateExtra = "Impersonate-Extra-"
)

// impersonate lets a user who may act as another do so. Each part (user, group, uid, extra) is authorized.
func (s *Server) impersonate(r *http.Request, u user.Info) (user.Info, error) {
	name, uid, groups := r.Header.Get(impersonateUser), r.Header.Get(impersonateUID), r.Header[impersonateGroup]
	extra := impersonatedExtra(r.Header)
	if name == "" {
		if uid != "" || len(groups) > 0 || len(extra) > 0 {
			return nil, apierrors.NewBadRequest("requested impersonation of groups, a uid or extra without impersonating a user")
		}
		return u, nil
	}
	as := &user.DefaultInfo{Name: name, UID: uid, Groups: groups, Extra: extra}
	for _, a := range impersonationAttributes(u, as) {
		if err := s.allowed(r.Context(), a); err != nil {
			return nil, err
		}
	}
	if ns, account, ok := serviceAccountOf(name); ok && len(groups) == 0 {
		_ = account
		as.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + ns}
	}
	if name != wellknown.UserAnonymous && !contains(as.Groups, wellknown.GroupAuthenticated) && !contains(as.Groups, wellknown.GroupUnauthenticated) {
		as.Groups = append(append([]string(nil), as.Groups...), wellknown.GroupAuthenticated)
	}
	if name == wellknown.UserAnonymous && !contains(as.Groups, wellknown.GroupUnauthenticated) {
		as.Groups = append(append([]string(nil), as.Groups...), wellknown.GroupUnauthenticated)
	}
	for key := range r.Header {
		if strings.HasPrefix(key, "Impersonate-") {
			r.Header.Del(key)
		}
	}
	return as, nil
}

func impersonatedExtra(h http.Header) map[string][]string {
	var extra map[string][]string
	for key, values := range h {
		name, ok := strings.CutPrefix(key, impersonateExtra)
		if !ok {
			continue
		}
		if extra == nil {
			extra = map[string][]string{}
		}
		name = strings.ToLower(name)
		if plain, err := url.PathUnescape(name); err == nil {
			name = plain
		}
		extra[name] = values
	}
	return extra
}

func impersonationAttributes(u user.Info, as *user.DefaultInfo) []*authz.Attributes {
	var out []*authz.Attributes
	add := func(group, resource, subresource, namespace, name string) {
		out = append(out, &authz.Attributes{User: u, Verb: "impersonate", Group: group, Version: "v1", Resource: resource,
			Subresource: subresource, Namespace: namespace, Name: name})
	}
	if ns, account, ok := serviceAccountOf(as.Name); ok {
		add("", "serviceaccounts", "", ns, account)
	} else {
		add("", "users", "", "", as.Name)
	}
	for _, g := range as.Groups {
		add("", "groups", "", "", g)
	}
	if as.UID != "" {
		add("authentication.k8s.io", "uids", "", "", as.UID)
	}
	for key, values := range as.Extra {
		for _, v := range values {
			add("authentication.k8s.io", "userextras", key, "", v)
		}
	}
	return out
}

// serviceAccountOf splits system:serviceaccount:<namespace>:<name>.
func serviceAccountOf(name string) (namespace, account string, ok bool) {
	rest, ok := strings.CutPrefix(name, "system:serviceaccount:")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, ":")
}
