package aggregation

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/transport"
)

// Serve passes a request for a group version of another server on, as the user u. It is false when the group version is
// not another server's.
func (a *Aggregator) Serve(w http.ResponseWriter, r *http.Request, group, version string, u user.Info) bool {
	t := a.table.Load()
	if t == nil || *t == nil {
		return false
	}
	b := (*t)[gv(group, version)]
	if b == nil {
		return false
	}
	a.serve(w, r, b, u)
	return true
}

// Serves tells whether a group version is another server's.
func (a *Aggregator) Serves(group, version string) bool {
	t := a.table.Load()
	return t != nil && (*t)[gv(group, version)] != nil
}

func (a *Aggregator) serve(w http.ResponseWriter, r *http.Request, b *backend, u user.Info) {
	if !b.available {
		unavailable(w, "service unavailable")
		return
	}
	rt, base, err := a.cfg.Outbound.Transport(b.target)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	to, err := url.Parse(base)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many requests are waiting for "+b.name, http.StatusTooManyRequests)
		return
	}
	rp := &httputil.ReverseProxy{
		Transport: rt, FlushInterval: -1,
		ErrorLog:       slog.NewLogLogger(a.cfg.Log.Handler(), slog.LevelDebug),
		Rewrite:        func(p *httputil.ProxyRequest) { rewrite(p, to, u, w.Header().Get("Audit-Id")) },
		ModifyResponse: func(resp *http.Response) error { return check(resp, w.Header()) },
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.Is(err, errRedirect) {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			a.cfg.Log.Debug("aggregated API server", "apiservice", b.name, "path", r.URL.Path, "error", err)
			unavailable(w, "error trying to reach service: "+err.Error())
		},
	}
	rp.ServeHTTP(w, r)
}

func unavailable(w http.ResponseWriter, text string) {
	http.Error(w, text, http.StatusServiceUnavailable)
}

// remotePrefix begins the headers by which a front proxy tells who the user is. What the client sent under such names
// is dropped: only we may say it.
const remotePrefix = "X-Remote-"

func rewrite(p *httputil.ProxyRequest, to *url.URL, u user.Info, auditID string) {
	out := p.Out
	out.URL.Scheme, out.URL.Host, out.Host = to.Scheme, to.Host, to.Host
	for name := range out.Header {
		if strings.HasPrefix(name, remotePrefix) {
			out.Header.Del(name)
		}
	}
	out.Header.Del("Authorization")
	p.SetXForwarded()
	if auditID != "" {
		out.Header.Set("Audit-Id", auditID)
	}
	transport.SetAuthProxyHeaders(out, u.GetName(), u.GetUID(), u.GetGroups(), u.GetExtra())
}

var errRedirect = errors.New("the backend attempted to redirect this request, which is not permitted")

// check refuses redirects: they would lead our users to wherever the other server likes. What both servers say in
// headers is said once.
func check(resp *http.Response, ours http.Header) error {
	if resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.Header.Get("Location") != "" {
		return errRedirect
	}
	for _, name := range []string{"Audit-Id", "Cache-Control", "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid"} {
		if resp.Header.Get(name) != "" {
			ours.Del(name)
		}
	}
	return nil
}
