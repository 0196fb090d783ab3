package scheduler

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
)

// Results of an attempt, as upstream names them.
const (
	resultScheduled     = "scheduled"
	resultUnschedulable = "unschedulable"
	resultError         = "error"
)

// pendingDesc has the queues as upstream names them.
var pendingDesc = prometheus.NewDesc("scheduler_pending_pods", "Pods that want a node: active are to be tried, backoff wait for their turn, unschedulable for a change that could help.",
	[]string{"queue"}, nil)

// metrics have upstream's names, labels, types and buckets.
type metrics struct {
	attempts  *prometheus.CounterVec
	attempt   *prometheus.HistogramVec
	algorithm prometheus.Histogram
	extension *prometheus.HistogramVec
	tries     prometheus.Histogram
	preempted prometheus.Counter
	victims   prometheus.Histogram

	// ask lets Run's goroutine count; counted is what it said last.
	ask     chan chan<- pending
	counted atomic.Pointer[pending]
}

// pending counts pods by queue.
type pending struct{ active, backoff, unschedulable int }

func newMetrics() *metrics {
	histogram := func(name, help string, start float64, count int) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(start, 2, count)}
	}
	return &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "scheduler_schedule_attempts_total", Help: "Attempts to place a pod, by result."},
			[]string{"result", "profile"}),
		attempt: prometheus.NewHistogramVec(histogram("scheduler_scheduling_attempt_duration_seconds", "How long an attempt took, decision and binding.", 0.001, 15),
			[]string{"result", "profile"}),
		algorithm: prometheus.NewHistogram(histogram("scheduler_scheduling_algorithm_duration_seconds", "How long a decision took.", 0.001, 15)),
		extension: prometheus.NewHistogramVec(histogram("scheduler_framework_extension_point_duration_seconds", "How long the steps of an attempt took.", 0.0001, 12),
			[]string{"extension_point", "status", "profile"}),
		tries:     prometheus.NewHistogram(histogram("scheduler_pod_scheduling_attempts", "Attempts that it took to place a pod.", 1, 5)),
		preempted: prometheus.NewCounter(prometheus.CounterOpts{Name: "scheduler_preemption_attempts_total", Help: "Attempts to make room by evicting pods."}),
		victims:   prometheus.NewHistogram(histogram("scheduler_preemption_victims", "Pods that were chosen to make room for one.", 1, 7)),
		ask:       make(chan chan<- pending),
	}
}

// collectors are those of whose values nobody has to be asked.
func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.attempts, m.attempt, m.algorithm, m.extension, m.tries, m.preempted, m.victims}
}

func (m *metrics) attempted(result string, took time.Duration) {
	m.attempts.WithLabelValues(result, corev1.DefaultSchedulerName).Inc()
	m.attempt.WithLabelValues(result, corev1.DefaultSchedulerName).Observe(took.Seconds())
}

func (m *metrics) step(point string, err error, took time.Duration) {
	status := "Success"
	if err != nil {
		status = "Error"
	}
	m.extension.WithLabelValues(point, status, corev1.DefaultSchedulerName).Observe(took.Seconds())
}

// preemption counts an attempt to make room.
func (m *metrics) preemption(victims int) {
	m.preempted.Inc()
	m.victims.Observe(float64(victims))
}

// Describe and Collect make a Scheduler a prometheus.Collector.
func (s *Scheduler) Describe(out chan<- *prometheus.Desc) {
	out <- pendingDesc
	for _, c := range s.metrics.collectors() {
		c.Describe(out)
	}
}

// Collect asks Run's goroutine how many pods there are. One that is busy for long is told of as it was.
func (s *Scheduler) Collect(out chan<- prometheus.Metric) {
	for _, c := range s.metrics.collectors() {
		c.Collect(out)
	}
	n := s.pending()
	for queue, v := range map[string]int{"active": n.active, "backoff": n.backoff, "unschedulable": n.unschedulable, "gated": 0} {
		out <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(v), queue)
	}
}

func (s *Scheduler) pending() (n pending) {
	if last := s.metrics.counted.Load(); last != nil {
		n = *last
	}
	if s.lost.Load() == nil {
		return n // it does not run
	}
	answer := make(chan pending, 1)
	patience := time.NewTimer(time.Second)
	defer patience.Stop()
	select {
	case s.metrics.ask <- answer:
		n = <-answer
		s.metrics.counted.Store(&n)
	case <-patience.C:
	}
	return n
}

// count is Run's.
func (b *backlog) count() (n pending) {
	n.active = len(b.ready.items)
	for _, it := range b.later.items {
		if it.wakes == 0 || it.due.Before(it.tried.Add(patience)) {
			n.backoff++
		} else {
			n.unschedulable++
		}
	}
	return n
}

// unfollowed is how long the scheduler may be without events before it counts as not alive.
const unfollowed = 30 * time.Second

// Alive says why the scheduler does not do its work; nil means that it does. It is for health checks.
func (s *Scheduler) Alive() error {
	switch since := s.lost.Load(); {
	case since == nil:
		return errors.New("the scheduler was not started")
	case !since.IsZero() && time.Since(*since) > unfollowed:
		return fmt.Errorf("the events have not been followed since %v", since.Format(time.RFC3339))
	}
	return nil
}
