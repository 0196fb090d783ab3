package store

import (
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
