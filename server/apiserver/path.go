package apiserver

import (
	"net/http"
	"strings"
)

// path is what a URL and a method ask for.
type path struct {
	// resource tells /api/v1/… and /apis/g/v/… with a resource in it from everything else.
	resource                      bool
	group, version, plural, sub   string
	namespace, name               string
	rest                          string // what follows the subresource: proxy paths
	verb                          string // get, list, watch, create, update, patch, delete, deletecollection
	fields, labels                string // the selectors
	selectedName                  string // metadata.name in it
	watchPrefix, namespacedInPath bool
	hasRest                       bool
}

// parsePath splits a URL's path. A path that is not a resource's has resource == false.
func parsePath(method, urlPath string) path {
	var p path
	rest, ok := strings.CutPrefix(urlPath, "/api/")
	if ok {
		p.version, rest, ok = strings.Cut(rest, "/")
	} else if rest, ok = strings.CutPrefix(urlPath, "/apis/"); ok {
		if p.group, rest, ok = strings.Cut(rest, "/"); ok {
			p.version, rest, ok = strings.Cut(rest, "/")
		}
	}
	if !ok || rest == "" || p.version == "" {
		return path{}
	}
	p.resource = true
	if r, ok := strings.CutPrefix(rest, "watch/"); ok {
		p.watchPrefix, rest = true, r
	}
	p.split(rest)
	p.verb = p.verbOf(method)
	return p
}

// split reads [namespaces/ns/]resource[/name[/sub[/rest]]].
func (p *path) split(rest string) {
	first, after, more := strings.Cut(rest, "/")
	if first == "namespaces" && more {
		ns, after, more := strings.Cut(after, "/")
		// /namespaces/x, /namespaces/x/status and /namespaces/x/finalize are the namespace itself.
		if sub, _, _ := strings.Cut(after, "/"); ns != "" && more && sub != "" && (p.group != "" || sub != "status" && sub != "finalize") {
			p.namespace, p.namespacedInPath = ns, true
			p.plural, after, more = strings.Cut(after, "/")
			p.tail(after, more)
			return
		}
		p.plural, p.name, p.sub = first, ns, strings.TrimSuffix(after, "/")
		if p.group == "" {
			p.namespace = ns
		}
		return
	}
	p.plural = first
	p.tail(after, more)
}

func (p *path) tail(after string, more bool) {
	if !more || after == "" {
		return
	}
	p.name, after, more = strings.Cut(after, "/")
	if !more || after == "" {
		return
	}
	p.sub, p.rest, p.hasRest = strings.Cut(after, "/")
}

func (p *path) verbOf(method string) string {
	switch method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if p.name == "" {
			return "deletecollection"
		}
		return "delete"
	case http.MethodGet, http.MethodHead:
		if p.watchPrefix {
			return "watch"
		}
		if p.name == "" {
			return "list"
		}
		return "get"
	}
	return ""
}
