package apiserver

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/api"
)

// component is this server's name in the labels of upstream's metrics.
const component = "apiserver"

// Upstream's buckets.
var (
	durationBuckets = []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}
	sliBuckets      = durationBuckets[2:]
	sizeBuckets     = prometheus.ExponentialBuckets(1000, 10, 7)
)

// Labels of upstream's metrics, in upstream's order.
var (
	objectLabels   = []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}
	requestLabels  = []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"}
	resourceLabels = []string{"group", "version", "resource"}
)

// metrics has upstream's names, labels and types. It keeps the counters of each kind of request at hand, so that counting costs one map read.
type metrics struct {
	requests     *prometheus.CounterVec
	durations    *prometheus.HistogramVec
	sli          *prometheus.HistogramVec
	sizes        *prometheus.HistogramVec
	longRunning  *prometheus.GaugeVec
	events       *prometheus.CounterVec
	terminations *prometheus.CounterVec

	mu   sync.RWMutex
	memo map[metricKey]memo
}

type metricKey struct {
	verb, dryRun, group, version, resource, sub, scope, component string
	code                                                          int
}

func (k *metricKey) object() []string {
	return []string{k.verb, k.group, k.version, k.resource, k.sub, k.scope, k.component}
}

type memo struct {
	requests prometheus.Counter
	duration prometheus.Observer
	// sli and size are nil where upstream does not count them: dry runs, and what is not read.
	sli, size prometheus.Observer
}

func newMetrics(r *prometheus.Registry, s *Server) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels []string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &metrics{
		requests:  counter("apiserver_request_total", "Requests by verb, resource and HTTP code.", append(slices.Clone(requestLabels), "code")...),
		durations: histogram("apiserver_request_duration_seconds", "How long requests took.", durationBuckets, requestLabels),
		sli: histogram("apiserver_request_sli_duration_seconds", "How long requests took, without their time in a queue of priority and fairness.",
			sliBuckets, objectLabels),
		sizes: histogram("apiserver_response_sizes", "Bytes of the answers to reads.", sizeBuckets, objectLabels),
		longRunning: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "apiserver_longrunning_requests",
			Help: "Watches and other streams that are open now."}, objectLabels),
		events:       counter("apiserver_watch_events_total", "Events sent to watches.", resourceLabels...),
		terminations: counter("apiserver_request_terminations_total", "Requests that were ended in self-defense.", append(slices.Clone(objectLabels), "code")...),
		memo:         map[metricKey]memo{},
	}
	inflight := func(kind string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "apiserver_current_inflight_requests",
			Help: "Requests being served that are not streams.", ConstLabels: prometheus.Labels{"request_kind": kind}}, f)
	}
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kubernetes_build_info", Help: "1, with what this server was built from.",
		ConstLabels: prometheus.Labels{"major": s.cfg.Version.Major, "minor": s.cfg.Version.Minor, "git_version": s.cfg.Version.GitVersion,
			"git_commit": s.cfg.Version.GitCommit, "git_tree_state": s.cfg.Version.GitTreeState, "build_date": s.cfg.Version.BuildDate,
			"go_version": s.cfg.Version.GoVersion, "compiler": s.cfg.Version.Compiler, "platform": s.cfg.Version.Platform}},
		func() float64 { return 1 })
	for _, c := range []prometheus.Collector{m.requests, m.durations, m.sli, m.sizes, m.longRunning, m.events, m.terminations, build,
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
func (s *Server) finish(w *response, r *http.Request, p *path, query url.Values, began time.Time) {
	code := w.status
	if code == 0 {
		code = http.StatusOK
	}
	w.audit.Complete(code)
	key := metricKey{verb: verbLabel(r, p), dryRun: dryRunLabel(query), scope: scopeOf(p), component: component, code: code}
	s.nameResource(&key, p, r.URL.Path)
	m := s.metrics.of(key)
	m.requests.Inc()
	took := s.cfg.Now().Sub(began)
	m.duration.Observe(took.Seconds())
	if m.sli != nil {
		m.sli.Observe((took - w.waited).Seconds())
	}
	if m.size != nil {
		m.size.Observe(float64(w.size))
	}
}

// nameResource fills in what the request was for. Names that nobody serves come from the client: they must not make ever new counters.
func (s *Server) nameResource(key *metricKey, p *path, urlPath string) {
	switch {
	case !p.resource && s.knownRoot(urlPath):
		key.sub = strings.TrimSuffix(urlPath, "/")
		if isHealth(key.sub) {
			key.component = "" // so it is upstream
		}
	case !p.resource:
	case s.serves(p):
		key.group, key.version, key.resource, key.sub = p.group, p.version, p.plural, p.sub
	case s.cfg.Aggregator != nil && s.cfg.Aggregator.Serves(p.group, p.version):
		key.group, key.version = p.group, p.version
	}
}

func (m *metrics) of(key metricKey) memo {
	m.mu.RLock()
	have, ok := m.memo[key]
	m.mu.RUnlock()
	if ok {
		return have
	}
	labels := []string{key.verb, key.dryRun, key.group, key.version, key.resource, key.sub, key.scope, key.component}
	have = memo{
		requests: m.requests.WithLabelValues(append(labels, strconv.Itoa(key.code))...),
		duration: m.durations.WithLabelValues(labels...),
	}
	if key.dryRun == "" {
		have.sli = m.sli.WithLabelValues(key.object()...)
	}
	if key.verb == "GET" || key.verb == "LIST" {
		have.size = m.sizes.WithLabelValues(key.object()...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.memo[key] = have
	return have
}

// verbLabel is upstream's: the HTTP method, but LIST, WATCH, APPLY and CONNECT where it means that.
func verbLabel(r *http.Request, p *path) string {
	switch p.sub {
	case "log", "exec", "portforward", "attach", "proxy":
		return "CONNECT"
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch p.verb {
		case "list":
			return "LIST"
		case "watch":
			return "WATCH"
		}
		return http.MethodGet
	case http.MethodPatch:
		if r.Header.Get("Content-Type") == string(types.ApplyPatchType) {
			return "APPLY"
		}
		return http.MethodPatch
	case http.MethodPost, http.MethodPut, http.MethodDelete:
		return r.Method
	}
	return "other"
}

// dryRunLabel is upstream's: the only word there is, "invalid" for others.
func dryRunLabel(query url.Values) string {
	values, given := query["dryRun"]
	if !given {
		return ""
	}
	for _, v := range values {
		if v != metav1.DryRunAll {
			return "invalid"
		}
	}
	return metav1.DryRunAll
}

func scopeOf(p *path) string {
	switch {
	case !p.resource:
		return ""
	case p.name != "", p.verb == "create":
		return "resource"
	case p.namespacedInPath:
		return "namespace"
	}
	return "cluster"
}

// streaming counts a watch or another stream until the returned function is called.
func (q *request) streaming() (ended func()) {
	g := q.metrics.longRunning.WithLabelValues(verbLabel(q.r, &q.path), q.path.group, q.path.version, q.kind.Plural, q.path.sub, scopeOf(&q.path), component)
	g.Inc()
	return g.Dec
}

func (m *metrics) sent(k *api.Kind, v *api.Version, n int) {
	m.events.WithLabelValues(k.Group, v.Version, k.Plural).Add(float64(n))
}

// rejected counts a request that was turned away because there are too many.
func (s *Server) rejected(r *http.Request, p *path) {
	key := metricKey{verb: verbLabel(r, p), scope: scopeOf(p), component: component}
	s.nameResource(&key, p, r.URL.Path)
	s.metrics.terminations.WithLabelValues(append(key.object(), strconv.Itoa(http.StatusTooManyRequests))...).Inc()
}
