package aggregation

import (
	"github.com/prometheus/client_golang/prometheus"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"codeberg.org/skiff/skiff/server/client"
)

// metrics under upstream's names. Which API services are unavailable is read from the objects when somebody scrapes.
type metrics struct {
	unavailable *prometheus.Desc
	turned      *prometheus.CounterVec
	client      *client.Client
}

func newMetrics(r *prometheus.Registry, c *client.Client) (*metrics, error) {
	m := &metrics{client: c,
		unavailable: prometheus.NewDesc("aggregator_unavailable_apiservice", "1 for an API service that is not available.", []string{"name"}, nil),
		turned: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "aggregator_unavailable_apiservice_total",
			Help: "How often an API service has become unavailable, by reason."}, []string{"name", "reason"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m, m.turned} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Describe serves prometheus.Collector.
func (m *metrics) Describe(out chan<- *prometheus.Desc) { out <- m.unavailable }

// Collect serves prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	for svc := range client.List[*apiregistrationv1.APIService](m.client.Snapshot(), "") {
		v := 1.0
		if isAvailable(svc) {
			v = 0
		}
		out <- prometheus.MustNewConstMetric(m.unavailable, prometheus.GaugeValue, v, svc.Name)
	}
}

// forget drops what was counted of an API service that is gone.
func (m *metrics) forget(name string) {
	m.turned.DeletePartialMatch(prometheus.Labels{"name": name})
}
