package apiserver

import (
	"encoding/json"
	"net/http"
	"net/url"
	"sort"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/apiserver/discovery"
)

// serves tells whether the path names a resource of the catalogue.
func (s *Server) serves(p *path) bool {
	kind, _ := s.cfg.Catalogue.ByResource(schema.GroupVersionResource{Group: p.group, Version: p.version, Resource: p.plural})
	return kind != nil && (p.sub == "" || kind.Subresource(p.sub) != nil)
}

// serveRoot serves what is not a resource.
func (s *Server) serveRoot(w *response, r *http.Request, u user.Info, query url.Values) error {
	path := r.URL.Path
	if h := s.extra(path); h != nil {
		h.ServeHTTP(w, r.WithContext(WithUser(r.Context(), u)))
		return nil
	}
	if mutating(r.Method) {
		if s.knownRoot(path) {
			return errMethod()
		}
		return errNoRoute()
	}
	switch trimmed := strings.TrimSuffix(path, "/"); {
	case trimmed == "/api" || trimmed == "/apis" || strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/apis/"):
		if s.aggregatedDiscovery(w, r, trimmed, u) {
			return nil
		}
		return s.serveDiscovery(w, r, trimmed)
	case trimmed == "/version":
		return s.sendJSON(w, r, &s.cfg.Version)
	case trimmed == "/openapi/v2" || trimmed == "/openapi/v3" || strings.HasPrefix(path, "/openapi/v3/"):
		return s.serveOpenAPI(w, r, trimmed, query)
	case trimmed == "/metrics/slis":
		return s.serveSLIs(w, r)
	case trimmed == "/statusz":
		return s.serveZPage(w, r, s.statusz())
	case trimmed == "/flagz" && s.cfg.Flags != nil:
		return s.serveZPage(w, r, s.flagz())
	case trimmed == "/configz" && s.cfg.Flags != nil:
		return s.sendJSON(w, r, map[string]any{component: s.cfg.Flags()})
	case (trimmed == "/logs" || strings.HasPrefix(path, "/logs/")) && s.cfg.Logs != nil:
		http.StripPrefix("/logs/", http.FileServerFS(s.cfg.Logs)).ServeHTTP(w, r)
		return nil
	case trimmed == "/metrics":
		promhttp.HandlerFor(s.gatherers, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4}).ServeHTTP(w, r)
		return nil
	case path == "/cacerts" && s.cfg.CABundle != nil:
		return w.send(r, http.StatusOK, "application/x-pem-file", s.cfg.CABundle())
	case path == "/.well-known/openid-configuration" && s.cfg.OpenIDConfiguration != nil:
		return w.send(r, http.StatusOK, "application/json", s.cfg.OpenIDConfiguration())
	case path == "/openid/v1/jwks" && s.cfg.JWKS != nil:
		return w.send(r, http.StatusOK, "application/jwk-set+json", s.cfg.JWKS())
	case trimmed == "":
		return s.serveIndex(w, r)
	}
	for _, endpoint := range []string{"/healthz", "/livez", "/readyz"} {
		if rest, ok := strings.CutPrefix(path, endpoint); ok && (rest == "" || rest[0] == '/') {
			return s.serveHealth(w, r, endpoint, strings.TrimPrefix(rest, "/"), query)
		}
	}
	return errNoRoute()
}

func (s *Server) knownRoot(path string) bool {
	switch strings.TrimSuffix(path, "/") {
	case "/api", "/apis", "/version", "/healthz", "/livez", "/readyz", "/metrics", "/metrics/slis", "/openapi/v2", "/openapi/v3", "/statusz", "/flagz", "/configz", "/logs":
		return true
	}
	return false
}

func (s *Server) extra(path string) http.Handler {
	if h, ok := s.cfg.Extra[path]; ok {
		return h
	}
	for prefix, h := range s.cfg.Extra {
		if strings.HasSuffix(prefix, "/") && strings.HasPrefix(path, prefix) {
			return h
		}
	}
	return nil
}

func (s *Server) sendJSON(w *response, r *http.Request, v any) error {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return w.send(r, http.StatusOK, "application/json", body)
}

func (s *Server) serveDiscovery(w *response, r *http.Request, path string) error {
	doc, ok, err := s.discovery.Get(path, r)
	if err != nil {
		return err
	}
	if !ok {
		return errNoRoute()
	}
	return serveDocument(w, r, doc)
}

// serveDocument sends a document, or says that the client has it already.
func serveDocument(w *response, r *http.Request, doc discovery.Document) error {
	h := w.Header()
	if doc.ETag != "" {
		h.Set("ETag", doc.ETag)
		h.Set("Vary", "Accept")
		if r.Header.Get("If-None-Match") == doc.ETag {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	if doc.Gzip {
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Type", doc.MediaType)
		_, _ = w.Write(doc.Body)
		return nil
	}
	return w.send(r, http.StatusOK, doc.MediaType, doc.Body)
}

// serveIndex lists the paths there are.
func (s *Server) serveIndex(w *response, r *http.Request) error {
	paths := []string{"/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/healthz", "/livez", "/metrics", "/metrics/slis",
		"/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/statusz", "/version"}
	if s.cfg.Flags != nil {
		paths = append(paths, "/configz", "/flagz")
	}
	if s.cfg.Logs != nil {
		paths = append(paths, "/logs")
	}
	for _, c := range s.checks() {
		for _, kind := range c.endpoints() {
			paths = append(paths, kind+"/"+c.Name)
		}
	}
	seen := map[string]bool{}
	for _, k := range s.cfg.Catalogue.Kinds() {
		for _, v := range k.Versions {
			if v.Group != "" {
				seen["/apis/"+v.Group] = true
				seen["/apis/"+v.Group+"/"+v.Version] = true
			}
		}
	}
	for p := range seen {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	return s.sendJSON(w, r, map[string][]string{"paths": paths})
}
