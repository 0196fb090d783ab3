package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// healthEndpoints have the checks below them, each under its own name.
var healthEndpoints = []string{"/healthz", "/livez", "/readyz"}

// Check is one part of the server that can be unhealthy.
type Check struct {
	Name string
	// Run returns why it is not healthy; it must return at once.
	Run func() error
	// ReadyOnly checks count for /readyz and not for /livez and /healthz, NotReady ones the other way round: the server is of use without them.
	ReadyOnly, NotReady bool
}

// endpoints under which the check is shown.
func (c *Check) endpoints() []string {
	switch {
	case c.ReadyOnly:
		return healthEndpoints[2:]
	case c.NotReady:
		return healthEndpoints[:2]
	}
	return healthEndpoints
}

// serveHealth answers healthz, livez and readyz, whole or one check.
func (s *Server) serveHealth(w *response, r *http.Request, endpoint, one string, query url.Values) error {
	exclude := slices.Clone(query["exclude"])
	slices.Sort(exclude)
	exclude = slices.Compact(exclude)
	var report strings.Builder
	failed, found := 0, one == ""
	for _, c := range s.checks() {
		if one != "" && c.Name != one || !slices.Contains(c.endpoints(), endpoint) {
			continue
		}
		found = true
		if i, excluded := slices.BinarySearch(exclude, c.Name); excluded && one == "" {
			exclude = slices.Delete(exclude, i, i+1)
			fmt.Fprintf(&report, "[+]%s excluded: ok\n", c.Name)
			continue
		}
		if err := s.runCheck(&c, endpoint); err == nil {
			fmt.Fprintf(&report, "[+]%s ok\n", c.Name)
		} else {
			failed++
			fmt.Fprintf(&report, "[-]%s failed: reason withheld\n", c.Name)
			s.cfg.Log.Debug("health check failed", "endpoint", endpoint, "check", c.Name, "error", err)
		}
	}
	if !found {
		return errNoRoute()
	}
	if len(exclude) > 0 {
		for i := range exclude {
			exclude[i] = strconv.Quote(exclude[i])
		}
		fmt.Fprintf(&report, "warn: some health checks cannot be excluded: no matches for %s\n", strings.Join(exclude, ","))
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	const plain = "text/plain; charset=utf-8"
	name := strings.TrimPrefix(endpoint, "/")
	if failed > 0 {
		fmt.Fprintf(&report, "%s check failed\n", name)
		return w.send(r, http.StatusInternalServerError, plain, []byte(report.String()))
	}
	if _, verbose := query["verbose"]; !verbose || one != "" {
		return w.send(r, http.StatusOK, plain, []byte("ok"))
	}
	fmt.Fprintf(&report, "%s check passed\n", name)
	return w.send(r, http.StatusOK, plain, []byte(report.String()))
}

// checks are the server's own and the configured ones, under upstream's names where it has any.
func (s *Server) checks() []Check {
	well := func() error { return nil }
	checks := []Check{{Name: "ping", Run: well}, {Name: "log", Run: well}}
	if s.cfg.Store != nil {
		ready := func() error {
			select {
			case <-s.cfg.Store.Ready():
				return nil
			default:
				return errors.New("the store is not ready")
			}
		}
		checks = append(checks, Check{Name: "etcd", Run: s.cfg.Store.Serving}, Check{Name: "etcd-readiness", ReadyOnly: true, Run: s.cfg.Store.Serving},
			Check{Name: "informer-sync", ReadyOnly: true, Run: ready})
	}
	checks = append(checks, s.cfg.Checks...)
	if s.cfg.LoopChecks != nil {
		checks = append(checks, s.cfg.LoopChecks()...)
	}
	return append(checks, Check{Name: "shutdown", ReadyOnly: true, Run: func() error {
		select {
		case <-s.stopping:
			return errors.New("the server is shutting down")
		default:
			return nil
		}
	}})
}

// runCheck runs a check and counts its outcome.
func (s *Server) runCheck(c *Check, endpoint string) error {
	err := c.Run()
	s.health.note(c.Name, strings.TrimPrefix(endpoint, "/"), err)
	return err
}

// serveSLIs shows how each check goes. Upstream counts only what probes asked for; here the scrape itself is one.
func (s *Server) serveSLIs(w *response, r *http.Request) error {
	for _, c := range s.checks() {
		for _, endpoint := range c.endpoints() {
			_ = s.runCheck(&c, endpoint)
		}
	}
	only := prometheus.NewRegistry()
	if err := only.Register(s.health); err != nil {
		return err
	}
	promhttp.HandlerFor(only, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}

// health counts the outcomes of checks, under upstream's names. The zero value of it is not of use: newHealth.
type health struct {
	state *prometheus.GaugeVec
	total *prometheus.CounterVec
}

func newHealth() *health {
	return &health{
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubernetes_healthcheck", Help: "1 if the check succeeded when it was last run."}, []string{"name", "type"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubernetes_healthchecks_total", Help: "Checks that were run, by outcome."}, []string{"name", "type", "status"}),
	}
}

func (h *health) note(name, kind string, err error) {
	up, status := 1.0, "success"
	if err != nil {
		up, status = 0, "error"
	}
	h.state.WithLabelValues(name, kind).Set(up)
	h.total.WithLabelValues(name, kind, status).Inc()
}

// Describe and Collect make it a prometheus.Collector.
func (h *health) Describe(out chan<- *prometheus.Desc) {
	h.state.Describe(out)
	h.total.Describe(out)
}

// Collect shows what was counted.
func (h *health) Collect(out chan<- prometheus.Metric) {
	h.state.Collect(out)
	h.total.Collect(out)
}
