package controller

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	depthDesc      = prometheus.NewDesc("workqueue_depth", "Keys that wait to be reconciled.", []string{"name"}, nil)
	addsDesc       = prometheus.NewDesc("workqueue_adds_total", "Keys that were put into the queue.", []string{"name"}, nil)
	retriesDesc    = prometheus.NewDesc("workqueue_retries_total", "Keys that came again because they failed.", []string{"name"}, nil)
	unfinishedDesc = prometheus.NewDesc("workqueue_unfinished_work_seconds", "Seconds for which the keys at work have been, added up.", []string{"name"}, nil)
	longestDesc    = prometheus.NewDesc("workqueue_longest_running_processor_seconds", "Seconds for which the oldest key at work has been.", []string{"name"}, nil)
	failingDesc    = prometheus.NewDesc("workqueue_failing", "Keys that failed when they were last reconciled.", []string{"name"}, nil)
)

// queueNames are upstream's names of the queues whose controllers are called otherwise.
var queueNames = map[string]string{
	"daemonset-controller": "daemonset", "replication-controller": "replicationmanager", "endpointslice-controller": "endpoint_slice",
	"endpointslicemirroring-controller": "endpoint_slice_mirroring", "resourcequota-controller": "resourcequota_primary", "service-account-controller": "serviceaccount",
	"root-ca-cert-publisher": "root_ca_cert_publisher", "ttl-after-finished-controller": "ttl_jobs_to_delete", "garbage-collector": "garbage_collector_attempt_to_delete",
	"pvc-protection-controller": "pvcprotection", "pv-protection-controller": "pvprotection", "clusterrole-aggregation-controller": "ClusterRoleAggregator",
	"bootstrap-signer": "bootstrap_signer_queue", "token-cleaner": "token_cleaner", "resource-claim-controller": "resource_claim", "tokens-controller": "serviceaccount_tokens_service",
	"node-lifecycle-controller": "node_lifecycle_controller", "taint-eviction-controller": "noexec_taint_pod", "validatingadmissionpolicy-status-controller": "validatingadmissionpolicy-status",
	"service-ip-address-controller": "ipaddresses", "service-cidrs-controller": "servicecidrs", "volumeattributesclass-protection-controller": "vacprotection",
}

// queueName is the label of a controller's queue.
func queueName(controller string) string {
	if name, ok := queueNames[controller]; ok {
		return name
	}
	return strings.TrimSuffix(controller, "-controller")
}

// durations are how long keys wait and are worked on, with upstream's names and buckets.
type durations struct{ waited, worked *prometheus.HistogramVec }

func newDurations() durations {
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(10e-9, 10, 10)}, []string{"name"})
	}
	return durations{
		waited: histogram("workqueue_queue_duration_seconds", "How long keys were in the queue."),
		worked: histogram("workqueue_work_duration_seconds", "How long a Reconcile took."),
	}
}

// Describe and Collect make an Engine a prometheus.Collector: it looks at the queues when it is asked.
func (e *Engine) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{depthDesc, addsDesc, retriesDesc, unfinishedDesc, longestDesc, failingDesc} {
		out <- d
	}
	e.durations.waited.Describe(out)
	e.durations.worked.Describe(out)
}

// Collect reads the queues.
func (e *Engine) Collect(out chan<- prometheus.Metric) {
	now := time.Now()
	for _, l := range e.loops {
		s, name := l.queue.stats(now), queueName(l.Name)
		for d, v := range map[*prometheus.Desc]float64{depthDesc: float64(s.depth), failingDesc: float64(s.failing),
			unfinishedDesc: s.unfinished.Seconds(), longestDesc: s.longest.Seconds()} {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, name)
		}
		out <- prometheus.MustNewConstMetric(addsDesc, prometheus.CounterValue, float64(s.adds), name)
		out <- prometheus.MustNewConstMetric(retriesDesc, prometheus.CounterValue, float64(s.retries), name)
	}
	e.durations.waited.Collect(out)
	e.durations.worked.Collect(out)
}

type queueStats struct {
	depth, failing, adds, retries int64
	unfinished, longest           time.Duration
}

func (q *queue) stats(now time.Time) queueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := queueStats{depth: int64(len(q.ready)), failing: int64(len(q.failed)), adds: q.adds, retries: q.retries}
	for _, since := range q.running {
		s.unfinished += now.Sub(since)
		s.longest = max(s.longest, now.Sub(since))
	}
	return s
}
