package apiserver

import (
	"net/http"
	"net/url"
)

// serveOpenAPI serves /openapi/v2, the index /openapi/v3 and one document a group version below it.
func (s *Server) serveOpenAPI(w *response, r *http.Request, path string, query url.Values) error {
	doc, ok, err := s.openapi.Get(path, r)
	if err != nil {
		return err
	}
	if !ok {
		return errNoRoute()
	}
	if hash := query.Get("hash"); hash != "" && doc.ETag == `"`+hash+`"` {
		// The address names the content, so it never changes.
		w.Header().Set("Cache-Control", "public, immutable")
	}
	return serveDocument(w, r, doc)
}
