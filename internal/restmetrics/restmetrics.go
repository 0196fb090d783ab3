// Package restmetrics shows what client-go's clients of this process do, under upstream's names (rest_client_…).
package restmetrics

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/restclient" // counts the requests; client-go lets one package of a process do so
)

// Gatherer of them. What else is in that registry (go_…, process_…) the default one of Prometheus has as well.
var Gatherer = prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
	all, err := legacyregistry.DefaultGatherer.Gather()
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "rest_client_") }), err
})
