package apiserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/apiserver/audit"
	"codeberg.org/skiff/skiff/server/apiserver/authn"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
)

// inflight counts requests that are not streams, for the metrics.
type inflight struct{ reads, writes atomic.Int64 }

// ServeHTTP is the way of every request; see the package comment.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rw := &response{ResponseWriter: w, head: r.Method == http.MethodHead}
	p := parsePath(r.Method, r.URL.Path)
	var query url.Values
	if r.URL.RawQuery != "" {
		query = r.URL.Query()
	}
	p.refine(query)
	began := s.cfg.Now()
	defer func() { s.finish(rw, r, &p, query, began) }()
	defer s.recover(rw, r)

	id := r.Header.Get("Audit-Id")
	if id == "" || len(id) > 128 {
		id = newID()
	}
	h := rw.Header()
	h["Audit-Id"] = []string{id}
	h["Cache-Control"] = noCache

	defer s.release(rw, &p)
	if !longRunning(&p) {
		counter := &s.inflight.reads
		if mutating(r.Method) {
			counter = &s.inflight.writes
		}
		counter.Add(1)
		defer counter.Add(-1)
		limit, err := requestTimeout(query, s.cfg.RequestTimeout)
		if err != nil {
			s.fail(rw, r, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), limit)
		defer cancel()
		defer expire(ctx, w)()
		r = r.WithContext(ctx)
	}
	if err := s.serve(rw, r, p, query); err != nil {
		s.fail(rw, r, err)
	}
}

// requestTimeout is the client's own (the query parameter timeout), but not longer than ours.
func requestTimeout(query url.Values, longest time.Duration) (time.Duration, error) {
	text := query.Get("timeout")
	if text == "" {
		return longest, nil
	}
	asked, err := time.ParseDuration(text)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid timeout specified in the request URL - %v", err))
	}
	if asked <= 0 || asked > longest {
		return longest, nil
	}
	return asked, nil
}

var (
	noCache = []string{"no-cache, private"}
	closing = []string{"close"}
)

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4, RFC 9562
	var out [36]byte
	hex.Encode(out[:8], b[:4])
	out[8] = '-'
	hex.Encode(out[9:13], b[4:6])
	out[13] = '-'
	hex.Encode(out[14:18], b[6:8])
	out[18] = '-'
	hex.Encode(out[19:23], b[8:10])
	out[23] = '-'
	hex.Encode(out[24:], b[10:])
	return string(out[:])
}

func mutating(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// longRunning requests are streams: they have no deadline, and hold no seat once they have begun.
func longRunning(p *path) bool {
	if !p.resource {
		return false
	}
	if p.verb == "watch" {
		return true
	}
	switch p.sub {
	case "exec", "attach", "portforward", "proxy", "log":
		return true
	}
	return false
}

// refine looks at the query for what the path alone does not say.
func (p *path) refine(query url.Values) {
	if !p.resource || len(query) == 0 {
		return
	}
	if p.verb == "list" {
		if v := query.Get("watch"); v != "" {
			if watch, _ := parseBool(v); watch {
				p.verb = "watch"
			}
		}
	}
	// A list or watch of one name is authorized as that name (the node authorizer and resourceNames need it).
	if p.name == "" && (p.verb == "list" || p.verb == "watch" || p.verb == "deletecollection") {
		p.fields, p.labels = query.Get("fieldSelector"), query.Get("labelSelector")
		if name, ok := nameOfSelector(p.fields); ok {
			p.selectedName = name
		}
	}
}

func nameOfSelector(selector string) (string, bool) {
	for term := range strings.SplitSeq(selector, ",") {
		if name, ok := strings.CutPrefix(term, "metadata.name="); ok {
			name = strings.TrimPrefix(name, "=")
			return name, name != "" && !strings.ContainsAny(name, `\/`)
		}
	}
	return "", false
}

// serve authenticates, waits for the request's turn, authorizes and serves.
func (s *Server) serve(w *response, r *http.Request, p path, query url.Values) error {
	u, err := s.authenticate(r, &p)
	if r.ProtoMajor == 2 && (err != nil || u == authn.Anonymous) {
		w.Header()["Connection"] = closing // nobody we know gets to open streams on one connection without end
	}
	if err != nil {
		if auditErr := s.beginAudit(w, r, &p, nil); auditErr != nil {
			return auditErr
		}
		return err
	}
	if err := s.beginAudit(w, r, &p, u); err != nil {
		return err
	}
	w.user = u
	if u, err = s.impersonate(r, u); err != nil {
		return err
	}
	if u != w.user {
		w.audit.Impersonated(u)
	}
	w.user = u
	if err := s.admit(w, r, &p, u, query); err != nil {
		return err
	}
	a := attributes(r, &p, u)
	if err := s.authorize(r.Context(), a, &p, r, w.audit); err != nil {
		return err
	}
	if !p.resource {
		return s.serveRoot(w, r, u, query)
	}
	return s.serveResource(w, r, p, query, u)
}

// authenticate asks the authenticators. Who shows nothing is anonymous, if that may be; who shows something wrong is refused.
func (s *Server) authenticate(r *http.Request, p *path) (user.Info, error) {
	if u, ok := r.Context().Value(userKey{}).(user.Info); ok {
		return u, nil
	}
	var refused error
	for _, a := range s.cfg.Authenticators {
		u, err := a.Authenticate(r)
		if err != nil {
			refused = err
			continue
		}
		if u != nil {
			r.Header.Del("Authorization")
			return u, nil
		}
	}
	if !p.resource && s.public[r.URL.Path] || refused == nil && s.cfg.Anonymous != nil && s.cfg.Anonymous(r.URL.Path) {
		return authn.Anonymous, nil
	}
	if refused != nil {
		s.cfg.Log.Debug("authentication failed", "path", r.URL.Path, "from", r.RemoteAddr, "error", refused)
	}
	return nil, errUnauthorized()
}

// isHealth names the paths that need no permission, so that they answer before there are any roles.
func isHealth(path string) bool {
	return path == "/healthz" || path == "/livez" || path == "/readyz"
}

// userKey carries the user of a request that came in-process.
type userKey struct{}

// WithUser returns a context whose requests (see RoundTripper) come from u without further authentication.
func WithUser(ctx context.Context, u user.Info) context.Context {
	return context.WithValue(ctx, userKey{}, u)
}

func attributes(r *http.Request, p *path, u user.Info) *authz.Attributes {
	if !p.resource {
		return &authz.Attributes{User: u, Verb: strings.ToLower(r.Method), Path: r.URL.Path}
	}
	name := p.name
	if name == "" {
		name = p.selectedName
	}
	return &authz.Attributes{User: u, Verb: p.verb, Group: p.group, Version: p.version, Resource: p.plural,
		Subresource: p.sub, Namespace: p.namespace, Name: name, Fields: p.fields, Labels: p.labels}
}

// authorize asks the chain.
func (s *Server) authorize(ctx context.Context, a *authz.Attributes, p *path, r *http.Request, rec *audit.Record) error {
	if !p.resource && (s.public[a.Path] || isHealth(a.Path) && !mutating(r.Method)) {
		return nil
	}
	decision, reason := s.cfg.Authorizers.Opinion(ctx, a)
	auditDecision(rec, decision, reason)
	if decision != authz.Allow {
		return authz.Forbidden(a, reason)
	}
	// A websocket can only begin with GET; reading is not enough for what it opens.
	if a.Verb == "get" && (p.sub == "exec" || p.sub == "attach" || p.sub == "portforward") {
		create := *a
		create.Verb = "create"
		return s.allowed(ctx, &create)
	}
	return nil
}

func (s *Server) allowed(ctx context.Context, a *authz.Attributes) error {
	decision, reason := s.cfg.Authorizers.Opinion(ctx, a)
	if decision == authz.Allow {
		return nil
	}
	return authz.Forbidden(a, reason)
}

// recover turns a panic into a 500 and one log line.
func (s *Server) recover(w *response, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	w.audit.Panicked()
	w.audit = nil
	s.cfg.Log.Error("panic while serving", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler) // too late for a status: cut the stream, so that nobody takes it for complete
	}
	s.fail(w, r, apierrors.NewInternalError(fmt.Errorf("this request caused the apiserver to panic; look in its log")))
}

// serveResource finds the kind and the verb.
func (s *Server) serveResource(w *response, r *http.Request, p path, query url.Values, u user.Info) error {
	if s.aggregated(w, r, &p, u) {
		return nil
	}
	kind, version := s.cfg.Catalogue.ByResource(schema.GroupVersionResource{Group: p.group, Version: p.version, Resource: p.plural})
	if kind == nil {
		return errNoRoute()
	}
	q := &request{Server: s, w: w, r: r, path: p, query: query, user: u, kind: kind, version: version}
	if err := q.checkScope(); err != nil {
		return err
	}
	if version.Deprecation != "" {
		q.warn(version.Deprecation)
	}
	if p.sub != "" {
		return q.serveSubresource()
	}
	if err := q.checkVerb(); err != nil {
		return err
	}
	var err error
	if q.accept, err = acceptOf(r, !kind.Virtual); err != nil {
		return err
	}
	switch p.verb {
	case "get":
		return q.getObject()
	case "list":
		return q.list()
	case "watch":
		return q.watch()
	case "create":
		return q.create()
	case "update":
		return q.update()
	case "patch":
		return q.patch()
	case "delete":
		return q.delete()
	case "deletecollection":
		return q.deleteCollection()
	}
	return errMethod()
}

// checkScope refuses a namespace on a kind without, and a name without its namespace.
func (q *request) checkScope() error {
	p := &q.path
	if !q.kind.Namespaced {
		if p.namespacedInPath {
			return errNoRoute()
		}
		return nil
	}
	if p.namespacedInPath {
		return nil
	}
	if p.name != "" && !p.watchPrefix {
		return errNoRoute()
	}
	if p.verb == "create" || p.verb == "deletecollection" {
		if q.version.Custom != nil {
			return errNoRoute()
		}
		return errMethod()
	}
	return nil
}

func (q *request) checkVerb() error {
	if q.path.verb == "create" && q.path.name != "" || q.path.verb == "update" && q.path.name == "" || q.path.verb == "patch" && q.path.name == "" {
		return errMethod()
	}
	if q.kind.Verbs == nil {
		return nil
	}
	for _, v := range q.kind.Verbs {
		if v == q.path.verb {
			return nil
		}
	}
	return errMethod()
}

// serveSubresource serves what is below an object.
func (q *request) serveSubresource() error {
	if q.sub = q.kind.SubresourceOf(q.version, q.path.sub); q.sub == nil || q.path.name == "" {
		return errNoRoute()
	}
	if q.isConnect() {
		return q.connect()
	}
	if q.path.hasRest && q.path.rest != "" {
		return errNoRoute()
	}
	if !contains(q.sub.Verbs, q.path.verb) {
		return errMethod()
	}
	var err error
	if q.accept, err = acceptOf(q.r, q.hasTable()); err != nil {
		return err
	}
	switch q.path.verb {
	case "get":
		return q.getObject()
	case "create":
		return q.create()
	case "update":
		return q.update()
	case "patch":
		return q.patch()
	case "delete":
		return q.delete()
	}
	return errMethod()
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}
