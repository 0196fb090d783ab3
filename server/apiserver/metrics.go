package apiserver

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"codeberg.org/skiff/skiff/server/api"
)

// metrics keeps the counters of each (verb, resource, code) at hand, so that counting costs one map read.
type metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	watches   *prometheus.GaugeVec
	events    *prometheus.CounterVec

	mu   sync.RWMutex
	memo map[metricKey]memo
}

type metricKey struct {
	verb, group, version, resource, sub, scope string
	code                                       int
}

type memo struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

func newMetrics(r *prometheus.Registry, s *Server) (*metrics, error) {
	labels := []string{"verb", "group", "version", "resource", "subresource", "scope"}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_request_total",
			Help: "Requests by verb, resource and HTTP code."}, append(labels, "code")),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_request_duration_seconds",
			Help: "How long requests took.", Buckets: []float64{.001, .005, .025, .1, .5, 1, 5, 30}}, labels),
		watches: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_longrunning_requests",
			Help: "Streams that are open now."}, []string{"verb", "group", "resource"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_watch_events_total",
			Help: "Events sent to watches."}, []string{"group", "resource"}),
		memo: map[metricKey]memo{},
	}
	inflight := func(kind string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "apiserver_current_inflight_requests",
			Help: "Requests being served that are not streams.", ConstLabels: prometheus.Labels{"request_kind": kind}}, f)
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kubernetes_build_info", Help: "1, with what this server was built from.",
		ConstLabels: prometheus.Labels{"major": s.cfg.Version.Major, "minor": s.cfg.Version.Minor, "git_version": s.cfg.Version.GitVersion,
			"git_commit": s.cfg.Version.GitCommit, "build_date": s.cfg.Version.BuildDate, "go_version": s.cfg.Version.GoVersion, "platform": s.cfg.Version.Platform}},
		func() float64 { return 1 })
	for _, c := range []prometheus.Collector{m.requests, m.durations, m.watches, m.events, build,
		inflight("readOnly", func() float64 { return float64(s.inflight.reads.Load()) }),
		inflight("mutating", func() float64 { return float64(s.inflight.writes.Load()) }),
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// finish counts a request that ended.
func (s *Server) finish(w *response, r *http.Request, p *path, began time.Time) {
	code := w.status
	if code == 0 {
		code = http.StatusOK
	}
	w.audit.Complete(code)
	key := metricKey{verb: p.verb, code: code}
	if p.resource {
		// Names that nobody serves come from the client: they must not make ever new counters.
		switch {
		case s.serves(p):
			key.group, key.version, key.resource, key.sub = p.group, p.version, p.plural, p.sub
		case s.cfg.Aggregator != nil && s.cfg.Aggregator.Serves(p.group, p.version):
			key.group, key.version = p.group, p.version
		}
		key.scope = scopeOf(p)
	} else {
		key.verb = "get"
		if mutating(r.Method) {
			key.verb = "post"
		}
	}
	m := s.metrics.of(key)
	m.requests.Inc()
	if p.verb != "watch" && !longRunning(p) {
		m.duration.Observe(s.cfg.Now().Sub(began).Seconds())
	}
}

func (m *metrics) of(key metricKey) memo {
	m.mu.RLock()
	have, ok := m.memo[key]
	m.mu.RUnlock()
	if ok {
		return have
	}
	labels := []string{key.verb, key.group, key.version, key.resource, key.sub, key.scope}
	have = memo{
		requests: m.requests.WithLabelValues(append(labels, strconv.Itoa(key.code))...),
		duration: m.durations.WithLabelValues(labels...),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.memo[key] = have
	return have
}

func scopeOf(p *path) string {
	switch {
	case p.name != "":
		return "resource"
	case p.namespacedInPath:
		return "namespace"
	}
	return "cluster"
}

func (m *metrics) watching(k *api.Kind, delta float64) {
	m.watches.WithLabelValues("WATCH", k.Group, k.Plural).Add(delta)
}

func (m *metrics) sent(k *api.Kind, n int) {
	m.events.WithLabelValues(k.Group, k.Plural).Add(float64(n))
}

func (m *metrics) streams(k *api.Kind, sub string, delta float64) {
	m.watches.WithLabelValues("CONNECT", k.Group, k.Plural+"/"+sub).Add(delta)
}
