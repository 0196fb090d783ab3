package kubelet

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/restclient" // counts the requests of all clients of this process
	_ "k8s.io/component-base/metrics/prometheus/version"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"codeberg.org/skiff/skiff/runtime/container"
)

// Metrics in the text format, by upstream's names.
func (v view) Metrics(ctx context.Context, w io.Writer, path string) error {
	k := v.k
	switch path {
	case "/probes":
		if err := write(w, k.probeMetrics()); err != nil {
			return err
		}
		return gather(w, k.counts.probes, nil)
	case "/resource":
		return write(w, resourceMetrics(v.Summary(ctx, true)))
	case "/cadvisor":
		return write(w, k.cadvisor(ctx))
	}
	if err := write(w, k.kubeletMetrics(v.Summary(ctx, false))); err != nil {
		return err
	}
	return gather(w, k.counts.registry, process)
}

func write(w io.Writer, p *page) error {
	_, err := io.WriteString(w, p.String())
	return err
}

// process are the prefixes of what the libraries of this process count for themselves and upstream's kubelet shows. The API server of this process shows its own.
var process = []string{"go_", "process_", "rest_client_", "kubernetes_build_info"}

// gather writes what was counted, and what libraries have counted by names with these prefixes.
func gather(w io.Writer, counted prometheus.Gatherer, prefixes []string) error {
	ours, err := counted.Gather()
	if err != nil {
		return err
	}
	var theirs []*dto.MetricFamily
	if len(prefixes) > 0 {
		if theirs, err = legacyregistry.DefaultGatherer.Gather(); err != nil {
			return err
		}
	}
	theirs = slices.DeleteFunc(theirs, func(f *dto.MetricFamily) bool {
		return !slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(f.GetName(), prefix) })
	})
	for _, f := range slices.Concat(ours, theirs) {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

func seconds(nanos uint64) float64 { return float64(nanos) / 1e9 }

func (k *Kubelet) probeMetrics() *page {
	p := newPage()
	for c, n := range k.probes.Counts() {
		p.add("prober_probe_total", count, "Probes, by what came of them.", float64(n),
			labels("container", c.Container, "namespace", c.Namespace, "pod", c.Pod, "pod_uid", string(c.UID), "probe_type", c.Type, "result", c.Result))
	}
	p.add("process_start_time_seconds", gauge, "When this process started, in seconds since 1970.", float64(k.started.UnixNano())/1e9, "")
	return p
}

// resourceMetrics is what metrics-server scrapes.
func resourceMetrics(s *statsapi.Summary) *page {
	p := newPage()
	of := func(l, what string, cpu *statsapi.CPUStats, memory *statsapi.MemoryStats, swap *statsapi.SwapStats) {
		if cpu == nil || memory == nil || swap == nil {
			return
		}
		p.add(what+"_cpu_usage_seconds_total", count, "CPU time used, in seconds.", seconds(*cpu.UsageCoreNanoSeconds), l)
		p.add(what+"_memory_working_set_bytes", gauge, "Memory in use without inactive page cache.", float64(*memory.WorkingSetBytes), l)
		p.add(what+"_swap_usage_bytes", gauge, "Swap in use.", float64(*swap.SwapUsageBytes), l)
	}
	of("", "node", s.Node.CPU, s.Node.Memory, s.Node.Swap)
	for i := range s.Pods {
		pod := &s.Pods[i]
		whose := labels("namespace", pod.PodRef.Namespace, "pod", pod.PodRef.Name)
		of(whose, "pod", pod.CPU, pod.Memory, pod.Swap)
		for j := range pod.Containers {
			c := &pod.Containers[j]
			l := labels("container", c.Name) + "," + whose
			of(l, "container", c.CPU, c.Memory, c.Swap)
			p.add("container_swap_limit_bytes", gauge, "Limit of swap.", float64(*c.Swap.SwapAvailableBytes+*c.Swap.SwapUsageBytes), l)
			p.add("container_start_time_seconds", gauge, "When it started, in seconds since 1970.", float64(c.StartTime.UnixNano())/1e9, l)
		}
	}
	p.add("scrape_error", gauge, "1 when something could not be read.", 0, "")
	p.add("resource_scrape_error", gauge, "1 when something could not be read.", 0, "")
	return p
}

// kubeletMetrics are those that are read from what is there.
func (k *Kubelet) kubeletMetrics(s *statsapi.Summary) *page {
	p := newPage()
	k.runningMetrics(p)
	k.podMetrics(p)
	p.add("kubelet_node_name", gauge, "The node's name.", 1, labels("node", k.cfg.NodeName))
	p.add("kubelet_metrics_provider", gauge, "Where figures of containers come from.", 1, labels("provider", "cadvisor"))
	version := 1.0
	if k.v2 {
		version = 2
	}
	p.add("kubelet_cgroup_version", gauge, "Version of the cgroups of this machine.", version, "")
	// Nothing is listed again and again here: the runtime tells what happened. It is seen for as long as this process answers.
	p.add("kubelet_pleg_last_seen_seconds", gauge, "When the runtime was last heard, in seconds since 1970.", float64(time.Now().Unix()), "")
	volumes := map[string]bool{}
	for i := range s.Pods {
		pod := &s.Pods[i]
		for j := range pod.Containers {
			if logs := pod.Containers[j].Logs; logs != nil && logs.UsedBytes != nil {
				p.add("kubelet_container_log_filesystem_used_bytes", gauge, "What the logs of a container take.", float64(*logs.UsedBytes),
					labels("container", pod.Containers[j].Name, "namespace", pod.PodRef.Namespace, "pod", pod.PodRef.Name, "uid", pod.PodRef.UID))
			}
		}
		for j := range pod.VolumeStats {
			volumeRows(p, &pod.VolumeStats[j], volumes)
		}
	}
	return p
}

// volumeRows are the figures of a claim, once however many pods use it.
func volumeRows(p *page, v *statsapi.VolumeStats, seen map[string]bool) {
	if v.PVCRef == nil {
		return
	}
	l := labels("namespace", v.PVCRef.Namespace, "persistentvolumeclaim", v.PVCRef.Name)
	if seen[l] {
		return
	}
	seen[l] = true
	for _, m := range []struct {
		name, help string
		value      *uint64
	}{
		{"capacity_bytes", "Size of the volume.", v.CapacityBytes}, {"available_bytes", "What is left of the volume.", v.AvailableBytes}, {"used_bytes", "What is used of the volume.", v.UsedBytes},
		{"inodes", "Inodes of the volume.", v.Inodes}, {"inodes_free", "Inodes left in the volume.", v.InodesFree}, {"inodes_used", "Inodes used in the volume.", v.InodesUsed},
	} {
		if m.value != nil {
			p.add("kubelet_volume_stats_"+m.name, gauge, m.help, float64(*m.value), l)
		}
	}
}

func (k *Kubelet) runningMetrics(p *page) {
	pods, states := 0, map[container.State]int{container.Created: 0, container.Running: 0, container.Exited: 0}
	for _, s := range k.cfg.Runtime.List() {
		if s.State == container.SandboxReady {
			pods++
		}
		for _, c := range s.Containers {
			states[c.State]++
		}
	}
	p.add("kubelet_running_pods", gauge, "Pods with a sandbox that runs.", float64(pods), "")
	for state, n := range states {
		p.add("kubelet_running_containers", gauge, "Containers, by their state.", float64(n), labels("container_state", string(state)))
	}
}

// podMetrics counts pods by what this node does with them.
func (k *Kubelet) podMetrics(p *page) {
	static := map[bool]string{false: "", true: "true"}
	desired, active, working, kinds, ephemeral := map[string]int{"": 0, "true": 0}, map[string]int{"": 0, "true": 0}, map[string]int{}, map[[2]string]int{}, 0
	for _, w := range k.workers() {
		w.mu.Lock()
		pod, s, ending, torn := w.pod, static[w.static], !w.ending.IsZero(), w.torn
		mounted := w.volumes != nil
		w.mu.Unlock()
		desired[s]++
		ephemeral += len(pod.Spec.EphemeralContainers)
		lifecycle := "sync"
		switch {
		case ending && torn:
			lifecycle = "terminated"
		case ending:
			lifecycle = "terminating"
			active[s]++
		default:
			active[s]++
		}
		working[labels("config", "desired", "lifecycle", lifecycle, "static", s)]++
		for i := range pod.Spec.Volumes {
			kinds[[2]string{pluginOf(&pod.Spec.Volumes[i]), "desired_state_of_world"}]++
			if mounted {
				kinds[[2]string{pluginOf(&pod.Spec.Volumes[i]), "actual_state_of_world"}]++
			}
		}
	}
	for s, n := range desired {
		p.add("kubelet_desired_pods", gauge, "Pods that are to be here.", float64(n), labels("static", s))
		p.add("kubelet_active_pods", gauge, "Pods that are to be here and have not ended.", float64(active[s]), labels("static", s))
	}
	for l, n := range working {
		p.add("kubelet_working_pods", gauge, "Pods by how far they are.", float64(n), l)
	}
	k.mu.Lock()
	mirrors := len(k.mirrors)
	k.mu.Unlock()
	p.add("kubelet_mirror_pods", gauge, "Mirrors of static pods.", float64(mirrors), "")
	p.add("kubelet_managed_ephemeral_containers", gauge, "Ephemeral containers of pods.", float64(ephemeral), "")
	for kind, n := range kinds {
		p.add("volume_manager_total_volumes", gauge, "Volumes, wanted and set up.", float64(n), labels("plugin_name", kind[0], "state", kind[1]))
	}
}

// pluginOf a volume is the name that upstream has for what makes it.
func pluginOf(v *corev1.Volume) string {
	for _, x := range []struct {
		is   bool
		name string
	}{
		{v.EmptyDir != nil, "empty-dir"}, {v.HostPath != nil, "host-path"}, {v.ConfigMap != nil, "configmap"}, {v.Secret != nil, "secret"}, {v.Projected != nil, "projected"},
		{v.DownwardAPI != nil, "downward-api"}, {v.NFS != nil, "nfs"}, {v.Image != nil, "image"}, {v.PersistentVolumeClaim != nil || v.Ephemeral != nil, "local-volume"}, {v.CSI != nil, "csi"},
	} {
		if x.is {
			return "kubernetes.io/" + x.name
		}
	}
	return "unknown"
}
