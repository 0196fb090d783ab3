package kubelet

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
)

// counts are what cannot be read from what is there when somebody asks: how often, and how long. Counting costs some tens of nanoseconds.
// Names and labels are upstream's.
type counts struct {
	registry, probes *prometheus.Registry // probes have a page of their own

	probeTook                                                              *prometheus.HistogramVec
	podStart, podStartSLI, workerStart, statusSync, relist                 prometheus.Histogram
	firstNetworkPod                                                        prometheus.Gauge
	workers, sandboxes, runtimeTook, imagePull                             *prometheus.HistogramVec
	storage, httpTook                                                      *prometheus.HistogramVec
	runtimeOps, runtimeErrs, sandboxErrs                                   *prometheus.CounterVec
	evictions, rejections, imagesGone                                      *prometheus.CounterVec
	startedContainers, startErrs, httpRequests                             *prometheus.CounterVec
	startedPods, startedPodErrs, orphans, startedUserNS, startedUserNSErrs prometheus.Counter
	httpInFlight                                                           *prometheus.GaugeVec
}

// podStartBuckets are upstream's, in seconds.
var podStartBuckets = []float64{0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}

func newCounts() *counts {
	r := prometheus.NewRegistry()
	keep := func(c prometheus.Collector) { r.MustRegister(c) }
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		keep(h)
		return h
	}
	histograms := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		keep(h)
		return h
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		keep(c)
		return c
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		keep(c)
		return c
	}
	def, ops := prometheus.DefBuckets, prometheus.ExponentialBuckets(.005, 2.5, 14)
	c := &counts{
		registry:    r,
		podStart:    histogram("kubelet_pod_start_duration_seconds", "Seconds from when this node first saw a pod until it ran.", podStartBuckets),
		podStartSLI: histogram("kubelet_pod_start_sli_duration_seconds", "Seconds from a pod's creation until its containers ran and were seen to, without the time that images and init containers took.", podStartBuckets),
		workerStart: histogram("kubelet_pod_worker_start_duration_seconds", "Seconds from when this node first saw a pod until its worker began.", def),
		statusSync:  histogram("kubelet_pod_status_sync_duration_seconds", "Seconds that it took to write a pod's status.", []float64{0.010, 0.050, 0.100, 0.500, 1, 5, 10, 20, 30, 45, 60}),
		relist:      histogram("kubelet_pleg_relist_duration_seconds", "Seconds that it took to pass on what the runtime told.", def),
		workers:     histograms("kubelet_pod_worker_duration_seconds", "Seconds that one look at a pod took.", def, "operation_type"),
		sandboxes:   histograms("kubelet_run_podsandbox_duration_seconds", "Seconds that it took to make a sandbox.", def, "runtime_handler"),
		sandboxErrs: counters("kubelet_run_podsandbox_errors_total", "Sandboxes that could not be made.", "runtime_handler"),
		runtimeOps:  counters("kubelet_runtime_operations_total", "Operations of the container runtime.", "operation_type"),
		runtimeErrs: counters("kubelet_runtime_operations_errors_total", "Operations of the container runtime that failed.", "operation_type"),
		runtimeTook: histograms("kubelet_runtime_operations_duration_seconds", "Seconds that operations of the container runtime took.", ops, "operation_type"),
		imagePull:   histograms("kubelet_image_pull_duration_seconds", "Seconds that pulls of images took.", []float64{1, 5, 10, 20, 30, 60, 180, 300, 600, 900, 1200, 1800, 2700, 3600}, "image_size_in_bytes"),
		imagesGone:  counters("kubelet_image_garbage_collected_total", "Unused images that were removed, by what asked for it.", "reason"),
		evictions:   counters("kubelet_evictions", "Pods that were evicted, by what was short.", "eviction_signal"),
		rejections:  counters("kubelet_admission_rejections_total", "Pods that the node refused.", "reason"),
		storage:     histograms("storage_operation_duration_seconds", "Seconds that operations on volumes took.", []float64{.1, .25, .5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600}, "volume_plugin", "operation_name", "status", "migrated"),

		startedPods:       counter("kubelet_started_pods_total", "Pods that were begun to start."),
		startedPodErrs:    counter("kubelet_started_pods_errors_total", "Pods whose sandbox could not be made."),
		startedUserNS:     counter("kubelet_started_user_namespaced_pods_total", "Pods with a user namespace that were begun to start."),
		startedUserNSErrs: counter("kubelet_started_user_namespaced_pods_errors_total", "Pods with a user namespace whose sandbox could not be made."),
		startedContainers: counters("kubelet_started_containers_total", "Containers that were started.", "container_type"),
		startErrs:         counters("kubelet_started_containers_errors_total", "Containers that could not be started.", "container_type", "code"),
		orphans:           counter("kubelet_orphaned_runtime_pods_total", "Sandboxes that were removed because nobody knew their pod."),

		httpRequests: counters("kubelet_http_requests_total", "Requests to the node's endpoint.", "method", "path", "server_type", "long_running"),
		httpTook:     histograms("kubelet_http_requests_duration_seconds", "Seconds that requests to the node's endpoint took.", def, "method", "path", "server_type", "long_running"),
	}
	c.firstNetworkPod = prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubelet_first_network_pod_start_sli_duration_seconds", Help: "Seconds that the first pod on the pod network took to start."})
	c.httpInFlight = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubelet_http_inflight_requests", Help: "Requests to the node's endpoint that are being answered."},
		[]string{"method", "path", "server_type", "long_running"})
	c.probes, c.probeTook = prometheus.NewRegistry(), prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "prober_probe_duration_seconds", Help: "Seconds that probes took.", Buckets: def},
		[]string{"probe_type", "container", "pod", "namespace"})
	c.probes.MustRegister(c.probeTook)
	keep(c.firstNetworkPod)
	keep(c.httpInFlight)
	return c
}

// probed counts the time of a probe.
func (c *counts) probed(pod *corev1.Pod, container, kind string, took time.Duration) {
	c.probeTook.WithLabelValues(kind, container, pod.Name, pod.Namespace).Observe(took.Seconds())
}

// unprobed forgets the probes of a pod (namespace/name) that is gone.
func (c *counts) unprobed(title string) {
	namespace, pod, _ := strings.Cut(title, "/")
	c.probeTook.DeletePartialMatch(prometheus.Labels{"namespace": namespace, "pod": pod})
}

// runtime counts an operation of the container runtime. The words are those of the CRI.
func (c *counts) runtime(what string, begun time.Time, err error) {
	c.runtimeOps.WithLabelValues(what).Inc()
	c.runtimeTook.WithLabelValues(what).Observe(time.Since(begun).Seconds())
	if err != nil {
		c.runtimeErrs.WithLabelValues(what).Inc()
	}
}
