package apiserver

import (
	"net/http"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
)

// aggregated passes a request on when another server serves its group version. The request's seat is given back first:
// how long another server takes is no measure of what this one has to do.
func (s *Server) aggregated(w *response, r *http.Request, p *path, u user.Info) bool {
	if s.cfg.Aggregator == nil || !s.cfg.Aggregator.Serves(p.group, p.version) {
		return false
	}
	s.releaseSeat(w, p)
	return s.cfg.Aggregator.Serve(w, r, p.group, p.version, u)
}

// aggregatedDiscovery passes on a request for the list of resources of another server's group version.
func (s *Server) aggregatedDiscovery(w *response, r *http.Request, urlPath string, u user.Info) bool {
	rest, ok := strings.CutPrefix(urlPath, "/apis/")
	if !ok {
		return false
	}
	group, version, ok := strings.Cut(rest, "/")
	return ok && s.aggregated(w, r, &path{group: group, version: version}, u)
}
