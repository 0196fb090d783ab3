package store

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"codeberg.org/skiff/skiff/server/api"
)

var (
	objectsDesc = prometheus.NewDesc("apiserver_storage_objects", "Objects that are stored, by resource.", []string{"resource"}, nil)
	// The newer name of the same, with the group apart.
	resourceObjectsDesc = prometheus.NewDesc("apiserver_resource_objects", "Objects that are stored, by group and resource.", []string{"group", "resource"}, nil)
	unreadableDesc      = prometheus.NewDesc("apiserver_storage_unreadable_objects", "Stored objects that can be neither decrypted nor decoded.", []string{"resource"}, nil)
	watchersDesc        = prometheus.NewDesc("apiserver_registered_watchers", "Watches that are open, of clients, controllers and agents.", []string{"group", "version", "kind"}, nil)
	sizeDesc            = prometheus.NewDesc("apiserver_storage_size_bytes", "Size of the database file.", []string{"storage_cluster_id"}, nil)
	revisionDesc        = prometheus.NewDesc("apiserver_storage_revision", "Newest revision that the cache has seen.", nil, nil)
)

// Describe and Collect make a Store a prometheus.Collector: it counts when it is asked, and costs nothing otherwise.
func (s *Store) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{objectsDesc, resourceObjectsDesc, unreadableDesc, watchersDesc, sizeDesc, revisionDesc} {
		out <- d
	}
	s.requests.durations.Describe(out)
	s.requests.total.Describe(out)
	s.requests.errors.Describe(out)
}

// requests to etcd, under upstream's names.
type requests struct {
	durations     *prometheus.HistogramVec
	total, errors *prometheus.CounterVec
	memo          sync.Map // requestKey → *request
}

type requestKey struct {
	operation string
	kind      *api.Kind
}

type request struct {
	duration      prometheus.Observer
	total, errors prometheus.Counter
}

func newRequests() *requests {
	labels := []string{"operation", "group", "resource"}
	return &requests{
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "etcd_request_duration_seconds", Help: "How long etcd took for a request.",
			Buckets: []float64{0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60}}, labels),
		total:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_requests_total", Help: "Requests to etcd."}, labels),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "etcd_request_errors_total", Help: "Requests that etcd did not do."}, labels),
	}
}

// observe counts a request that began then. That somebody else was quicker is no error.
func (r *requests) observe(operation string, k *api.Kind, began time.Time, err error) {
	key := requestKey{operation, k}
	have, ok := r.memo.Load(key)
	if !ok {
		labels := []string{operation, k.Group, k.Plural}
		have, _ = r.memo.LoadOrStore(key, &request{r.durations.WithLabelValues(labels...), r.total.WithLabelValues(labels...), r.errors.WithLabelValues(labels...)})
	}
	counted := have.(*request)
	counted.duration.Observe(time.Since(began).Seconds())
	counted.total.Inc()
	if err != nil && !errors.Is(err, errMismatch) {
		counted.errors.Inc()
	}
}

// Collect reads one snapshot.
func (s *Store) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	snap := s.Snapshot()
	for k := range snap.layout.slot {
		resource := k.GroupResource().String()
		gauge(objectsDesc, snap.Count(k, ""), resource)
		gauge(resourceObjectsDesc, snap.Count(k, ""), k.Group, k.Plural)
		if n := snap.UnreadableCount(k, ""); n > 0 {
			gauge(unreadableDesc, n, resource)
		}
	}
	for k, n := range s.cache.watching() {
		if k == nil {
			gauge(watchersDesc, n, "", "", "")
			continue
		}
		gauge(watchersDesc, n, k.Group, k.Hub().Version, k.Kind)
	}
	s.requests.durations.Collect(out)
	s.requests.total.Collect(out)
	s.requests.errors.Collect(out)
	if m := s.member.Load(); m != nil {
		gauge(sizeDesc, int(m.server.Backend().Size()), "etcd-0")
	}
	gauge(revisionDesc, int(snap.Revision()))
}

// watching counts watches by kind; those of every kind are under nil.
func (c *cache) watching() map[*api.Kind]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := map[*api.Kind]int{}
	if n := len(c.watchers.all); n > 0 {
		count[nil] = n
	}
	for k, list := range c.watchers.byKind {
		count[k] += len(list)
	}
	for k, indexes := range c.watchers.byIndex {
		for _, values := range indexes {
			for _, list := range values {
				count[k] += len(list)
			}
		}
	}
	return count
}
