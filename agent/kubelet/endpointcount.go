package kubelet

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// longRunning are the parts of the endpoint whose requests last as long as their callers like.
var longRunning = []string{"exec", "attach", "portForward", "run", "containerLogs"}

var (
	knownPaths   = slices.Concat(longRunning, []string{"pods", "runningpods", "healthz", "configz", "stats", "metrics", "metrics/cadvisor", "metrics/resource", "metrics/probes"})
	knownMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodHead, http.MethodOptions}
)

// countRequests counts requests to the endpoint. What a caller makes up is "other": names and numbers of rows are ours.
func (k *Kubelet) countRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, method := strings.Trim(r.URL.Path, "/"), r.Method
		if !slices.Contains(knownPaths, path) {
			path, _, _ = strings.Cut(path, "/")
		}
		if !slices.Contains(knownPaths, path) {
			path = "other"
		}
		if !slices.Contains(knownMethods, method) {
			method = "other"
		}
		long := "false"
		if slices.Contains(longRunning, path) {
			long = "true"
		}
		l := []string{method, path, "readwrite", long}
		k.counts.httpRequests.WithLabelValues(l...).Inc()
		k.counts.httpInFlight.WithLabelValues(l...).Inc()
		begun := time.Now()
		defer func() {
			k.counts.httpInFlight.WithLabelValues(l...).Dec()
			k.counts.httpTook.WithLabelValues(l...).Observe(time.Since(begun).Seconds())
		}()
		next.ServeHTTP(w, r)
	})
}
