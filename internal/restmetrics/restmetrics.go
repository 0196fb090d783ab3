// Package restmetrics counts what client-go's clients of this process do, under upstream's names (rest_client_…). It starts no goroutine.
package restmetrics

import (
	"context"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/metrics"
)

var (
	durationBuckets = []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60}
	sizeBuckets     = []float64{64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216}

	requestDuration = histogram("rest_client_request_duration_seconds", "How long requests took.", durationBuckets, "verb", "host")
	limiterDuration = histogram("rest_client_rate_limiter_duration_seconds", "How long requests waited for the client's own rate limit.", durationBuckets, "verb", "host")
	dnsDuration     = histogram("rest_client_dns_resolution_duration_seconds", "How long names took to resolve.", durationBuckets[:11], "host")
	requestSize     = histogram("rest_client_request_size_bytes", "Bytes of what was sent.", sizeBuckets, "verb", "host")
	responseSize    = histogram("rest_client_response_size_bytes", "Bytes of what was answered.", sizeBuckets, "verb", "host")
	requests        = counter("rest_client_requests_total", "Requests by code, method and host.", "code", "method", "host")
	retries         = counter("rest_client_request_retries_total", "Requests that were sent again.", "code", "verb", "host")
)

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// Register shows the metrics in r, too, and makes client-go count. A process has one set of them, however many registries show it.
func Register(r prometheus.Registerer) error {
	metrics.Register(metrics.RegisterOpts{ // the first call counts, others do nothing
		RequestLatency: latency{requestDuration}, RateLimiterLatency: latency{limiterDuration}, ResolverLatency: resolver{},
		RequestSize: size{requestSize}, ResponseSize: size{responseSize}, RequestResult: result{}, RequestRetry: retry{},
	})
	for _, c := range []prometheus.Collector{requestDuration, limiterDuration, dnsDuration, requestSize, responseSize, requests, retries} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

type latency struct{ of *prometheus.HistogramVec }

func (l latency) Observe(_ context.Context, verb string, u url.URL, took time.Duration) {
	l.of.WithLabelValues(verb, u.Host).Observe(took.Seconds())
}

type resolver struct{}

func (resolver) Observe(_ context.Context, host string, took time.Duration) {
	dnsDuration.WithLabelValues(host).Observe(took.Seconds())
}

type size struct{ of *prometheus.HistogramVec }

func (s size) Observe(_ context.Context, verb, host string, bytes float64) {
	s.of.WithLabelValues(verb, host).Observe(bytes)
}

type result struct{}

func (result) Increment(_ context.Context, code, method, host string) {
	requests.WithLabelValues(code, method, host).Inc()
}

type retry struct{}

func (retry) IncrementRetry(_ context.Context, code, method, host string) {
	retries.WithLabelValues(code, method, host).Inc()
}
