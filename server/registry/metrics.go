package registry

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Types of admission in the labels, as upstream names them.
const (
	typeAdmit    = "admit"
	typeValidate = "validate"
)

// metrics are how long admission takes, under upstream's names. Nil counts nothing.
type metrics struct {
	steps, plugins *prometheus.HistogramVec
	memo           sync.Map // admissionKey → prometheus.Observer
}

// admissionKey is one time series; of a whole step if it has no plugin.
type admissionKey struct {
	plugin, kind, operation string
	rejected                bool
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	if r == nil {
		return nil, nil
	}
	buckets := []float64{0.005, 0.025, 0.1, 0.5, 1, 2.5}
	m := &metrics{
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_admission_step_admission_duration_seconds",
			Help: "How long all plugins together took.", Buckets: buckets}, []string{"type", "operation", "rejected"}),
		plugins: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_admission_controller_admission_duration_seconds",
			Help: "How long a plugin took.", Buckets: buckets}, []string{"name", "type", "operation", "rejected"}),
	}
	for _, c := range []prometheus.Collector{m.steps, m.plugins} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// stopwatch measures one step of admission, plugin by plugin, with one look at the clock for each.
type stopwatch struct {
	m               *metrics
	kind, operation string
	began, last     time.Time
}

func (m *metrics) start(kind, operation string) (w stopwatch) {
	if m != nil {
		now := time.Now()
		w = stopwatch{m: m, kind: kind, operation: operation, began: now, last: now}
	}
	return w
}

// plugin says that one has ended.
func (w *stopwatch) plugin(name string, err error) {
	if w.m == nil {
		return
	}
	now := time.Now()
	w.m.observe(admissionKey{name, w.kind, w.operation, err != nil}, now.Sub(w.last))
	w.last = now
}

// step says that the last one has ended.
func (w *stopwatch) step(err error) {
	if w.m != nil {
		w.m.observe(admissionKey{"", w.kind, w.operation, err != nil}, w.last.Sub(w.began))
	}
}

func (m *metrics) observe(key admissionKey, took time.Duration) {
	o, ok := m.memo.Load(key)
	if !ok {
		rejected := strconv.FormatBool(key.rejected)
		if key.plugin == "" {
			o = m.steps.WithLabelValues(key.kind, key.operation, rejected)
		} else {
			o = m.plugins.WithLabelValues(key.plugin, key.kind, key.operation, rejected)
		}
		m.memo.Store(key, o)
	}
	o.(prometheus.Observer).Observe(took.Seconds())
}
