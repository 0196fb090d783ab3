package fairness

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics under upstream's names. Counters and histograms are touched as requests pass; gauges are read from the levels
// when somebody scrapes.
type metrics struct {
	rejected, dispatched *prometheus.CounterVec
	wait, execution      *prometheus.HistogramVec
	queueLength          *prometheus.HistogramVec
	perClass, perLevel   map[string]*prometheus.Desc
}

// classMetrics are resolved once a class, so that counting costs no lookup.
type classMetrics struct {
	dispatched           prometheus.Counter
	rejections           map[string]prometheus.Counter
	waitedRun, waitedNot prometheus.Observer
	queueLength          prometheus.Observer
	execution            prometheus.Observer
}

func (c *classMetrics) rejected(reason string) prometheus.Counter { return c.rejections[reason] }
func (c *classMetrics) executed(bool) prometheus.Observer         { return c.execution }

const prefix = "apiserver_flowcontrol_"

func newMetrics() *metrics {
	labels := []string{"priority_level", "flow_schema"}
	seconds := []float64{.005, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15, 30}
	m := &metrics{
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "rejected_requests_total",
			Help: "Requests that were turned away."}, append(labels, "reason")),
		dispatched: prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + "dispatched_requests_total",
			Help: "Requests that were let run."}, labels),
		wait: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + "request_wait_duration_seconds",
			Help: "How long requests waited in a queue.", Buckets: seconds}, append(labels, "execute")),
		execution: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + "request_execution_seconds",
			Help: "How long requests (for watches, their beginnings) held their seats.", Buckets: seconds}, labels),
		queueLength: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix + "request_queue_length_after_enqueue",
			Help: "How long its queue was when a request had joined it.", Buckets: []float64{0, 10, 25, 50, 100, 250, 500, 1000}}, labels),
		perClass: map[string]*prometheus.Desc{}, perLevel: map[string]*prometheus.Desc{},
	}
	for name, help := range map[string]string{
		"current_inqueue_requests":   "Requests that wait in queues.",
		"current_executing_requests": "Requests that run.",
		"current_executing_seats":    "Seats of requests that run.",
	} {
		m.perClass[name] = prometheus.NewDesc(prefix+name, help, labels, nil)
	}
	for name, help := range map[string]string{
		"nominal_limit_seats":         "Seats that the level's shares come to.",
		"lower_limit_seats":           "Seats that the level does not lend.",
		"upper_limit_seats":           "Seats that the level may have with what it borrows.",
		"current_limit_seats":         "Seats that the level may use now.",
		"demand_seats_high_watermark": "The most seats that were asked for at once since the last division.",
		"demand_seats_smoothed":       "The demand by which seats are divided.",
	} {
		m.perLevel[name] = prometheus.NewDesc(prefix+name, help, labels[:1], nil)
	}
	return m
}

func (m *metrics) register(r *prometheus.Registry, f *Fairness) error {
	for _, c := range []prometheus.Collector{m.rejected, m.dispatched, m.wait, m.execution, m.queueLength, gauges{f}} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

func (m *metrics) class(level, schema string) *classMetrics {
	c := &classMetrics{
		dispatched:  m.dispatched.WithLabelValues(level, schema),
		waitedRun:   m.wait.WithLabelValues(level, schema, "true"),
		waitedNot:   m.wait.WithLabelValues(level, schema, "false"),
		queueLength: m.queueLength.WithLabelValues(level, schema),
		execution:   m.execution.WithLabelValues(level, schema),
		rejections:  map[string]prometheus.Counter{},
	}
	for _, reason := range []string{ReasonQueueFull, ReasonConcurrency, ReasonTimeout, ReasonCancelled} {
		c.rejections[reason] = m.rejected.WithLabelValues(level, schema, reason)
	}
	return c
}

// forget drops the series of classes that are gone, so that made-up names do not pile up.
func (m *metrics) forget(old, next *state) {
	have := map[[2]string]bool{}
	for _, s := range next.schemas {
		have[[2]string{s.class.level.name, s.name}] = true
	}
	for _, s := range old.schemas {
		if have[[2]string{s.class.level.name, s.name}] {
			continue
		}
		labels := prometheus.Labels{"priority_level": s.class.level.name, "flow_schema": s.name}
		for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{m.rejected, m.dispatched, m.wait, m.execution, m.queueLength} {
			v.DeletePartialMatch(labels)
		}
	}
}

// gauges reads the levels when somebody scrapes.
type gauges struct{ f *Fairness }

// Describe serves prometheus.Collector.
func (g gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range g.f.metrics.perClass {
		out <- d
	}
	for _, d := range g.f.metrics.perLevel {
		out <- d
	}
}

// Collect serves prometheus.Collector.
func (g gauges) Collect(out chan<- prometheus.Metric) {
	m, s := g.f.metrics, g.f.current.Load()
	send := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for name, l := range s.levels {
		v := l.view()
		send(m.perLevel["nominal_limit_seats"], float64(v.config.nominal), name)
		send(m.perLevel["lower_limit_seats"], float64(v.config.least), name)
		send(m.perLevel["upper_limit_seats"], float64(v.config.most), name)
		send(m.perLevel["current_limit_seats"], float64(v.limit), name)
		send(m.perLevel["demand_seats_high_watermark"], float64(v.peak), name)
		send(m.perLevel["demand_seats_smoothed"], v.demand, name)
	}
	for _, sc := range s.schemas {
		c := sc.class
		c.level.mu.Lock()
		running, waiting, seats := c.running, c.waiting, c.seats
		c.level.mu.Unlock()
		send(m.perClass["current_executing_requests"], float64(running), c.level.name, c.schema)
		send(m.perClass["current_inqueue_requests"], float64(waiting), c.level.name, c.schema)
		send(m.perClass["current_executing_seats"], float64(seats), c.level.name, c.schema)
	}
}
