package apiserver

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/apiserver/fairness"
)

// admit waits until the request may run: its turn among the requests of others, or room for one more stream of its user.
// What it took is in w, and is given back by w.release.
func (s *Server) admit(w *response, r *http.Request, p *path, u user.Info, query url.Values) error {
	if _, inProcess := r.Context().Value(userKey{}).(user.Info); inProcess {
		return nil // our own agent, which needs no protection from itself
	}
	stream := longRunning(p)
	if stream {
		if !s.streams.open(u.GetName()) {
			return apierrors.NewTooManyRequests("this user has too many watches and streams open, please try again later", 1)
		}
		w.stream = u.GetName()
		if p.verb != "watch" {
			return nil
		}
	}
	fr := fairness.Request{User: u, Verb: p.verb, Resource: p.resource, Group: p.group, Plural: p.plural, Subresource: p.sub, Namespace: p.namespace}
	if !p.resource {
		fr.Verb, fr.Path = strings.ToLower(r.Method), r.URL.Path
	}
	fr.Width = s.width(p, query)
	class, flow := s.cfg.Fairness.Classify(&fr)
	class.SetHeaders(w.Header())
	before := s.cfg.Now()
	ticket, err := class.Enter(r.Context(), &fr, flow)
	w.waited = s.cfg.Now().Sub(before)
	if err == nil {
		w.ticket = ticket
		return nil
	}
	var rejected *fairness.Rejected
	if errors.As(err, &rejected) {
		s.rejected(r, p)
		return apierrors.NewTooManyRequests(rejected.Error(), rejected.RetryAfter)
	}
	return err
}

// width of a request: how many objects it goes through, as far as that can be told from outside.
func (s *Server) width(p *path, query url.Values) int {
	if p.verb != "list" && p.verb != "watch" && p.verb != "deletecollection" || p.selectedName != "" || p.name != "" || !p.resource {
		return 1
	}
	if p.verb == "watch" {
		rv := query.Get("resourceVersion")
		if initial, _ := parseBool(query.Get("sendInitialEvents")); rv != "" && rv != "0" && (!initial || query.Get("sendInitialEvents") == "") {
			return 1
		}
	}
	kind, _ := s.cfg.Catalogue.ByResource(schema.GroupVersionResource{Group: p.group, Version: p.version, Resource: p.plural})
	if kind == nil || kind.Virtual {
		return 1
	}
	n := s.cfg.Registry.Snapshot().Count(kind, p.namespace)
	if limit, err := strconv.Atoi(query.Get("limit")); err == nil && limit > 0 && query.Get("labelSelector") == "" && p.fields == "" {
		n = min(n, limit)
	}
	return fairness.Width(n)
}

// release gives back what admit took. It can be called more than once: a watch does when it has begun, and at its end.
func (s *Server) release(w *response, p *path) {
	if w.stream != "" {
		s.streams.close(w.stream)
		w.stream = ""
	}
	s.releaseSeat(w, p)
}

func (s *Server) releaseSeat(w *response, p *path) {
	var extra time.Duration
	if p.resource && p.isWrite() && w.status < http.StatusBadRequest && p.sub != "token" {
		extra = fairness.ExtraWork(s.streams.watching(p.group, p.plural))
	}
	w.ticket.DoneAfter(extra)
}

func (p *path) isWrite() bool {
	return p.verb != "get" && p.verb != "list" && p.verb != "watch"
}
