package controller

import "github.com/prometheus/client_golang/prometheus"

var (
	depthDesc   = prometheus.NewDesc("workqueue_depth", "Keys that wait to be reconciled.", []string{"name"}, nil)
	addsDesc    = prometheus.NewDesc("workqueue_adds_total", "Keys that were put into the queue.", []string{"name"}, nil)
	retriesDesc = prometheus.NewDesc("workqueue_retries_total", "Keys that came again because they failed.", []string{"name"}, nil)
	runningDesc = prometheus.NewDesc("workqueue_running", "Keys that are being reconciled.", []string{"name"}, nil)
	failingDesc = prometheus.NewDesc("workqueue_failing", "Keys that failed when they were last reconciled.", []string{"name"}, nil)
)

// Describe and Collect make an Engine a prometheus.Collector: it looks at the queues when it is asked.
func (e *Engine) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{depthDesc, addsDesc, retriesDesc, runningDesc, failingDesc} {
		out <- d
	}
}

// Collect reads the queues.
func (e *Engine) Collect(out chan<- prometheus.Metric) {
	for _, l := range e.loops {
		s := l.queue.stats()
		for d, v := range map[*prometheus.Desc]int64{depthDesc: s.depth, runningDesc: s.running, failingDesc: s.failing} {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), l.Name)
		}
		out <- prometheus.MustNewConstMetric(addsDesc, prometheus.CounterValue, float64(s.adds), l.Name)
		out <- prometheus.MustNewConstMetric(retriesDesc, prometheus.CounterValue, float64(s.retries), l.Name)
	}
}

type queueStats struct{ depth, running, failing, adds, retries int64 }

func (q *queue) stats() queueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	return queueStats{depth: int64(len(q.ready)), running: int64(len(q.running)), failing: int64(len(q.failed)), adds: q.adds, retries: q.retries}
}
