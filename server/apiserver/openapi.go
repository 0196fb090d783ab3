package apiserver

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"codeberg.org/skiff/skiff/server/apiserver/discovery"
	"codeberg.org/skiff/skiff/server/apiserver/openapi"
)

// Discovery are the lists of what this server serves, to which others' can be added.
func (s *Server) Discovery() *discovery.Documents { return s.discovery }

// OpenAPI are the documents of this server, to which those of others can be added.
func (s *Server) OpenAPI() *openapi.Documents { return s.openapi }

// serveOpenAPI serves /openapi/v2, the index /openapi/v3 and one document a group version below it.
func (s *Server) serveOpenAPI(w *response, r *http.Request, path string, query url.Values) error {
	doc, ok, err := s.openapi.Get(path, r)
	if errors.Is(err, openapi.ErrNotAcceptable) {
		w.WriteHeader(http.StatusNotAcceptable)
		return nil
	}
	if err != nil {
		return err
	}
	if !ok {
		return errNoRoute()
	}
	h := w.Header()
	etag := strings.Trim(doc.ETag, `"`)
	switch hash := query.Get("hash"); hash {
	case "":
	case etag:
		// The address names the content, so it never changes.
		h.Set("Cache-Control", "public, immutable")
		h.Set("Expires", s.cfg.Now().AddDate(1, 0, 0).UTC().Format(time.RFC1123))
	default:
		to := url.URL{Path: path, RawQuery: url.Values{"hash": {etag}}.Encode()}
		http.Redirect(w, r, to.String(), http.StatusMovedPermanently)
		return nil
	}
	return serveDocument(w, r, doc)
}
