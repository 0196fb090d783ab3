package kubelet

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"codeberg.org/skiff/skiff/agent/kubelet/httpapi"
	"codeberg.org/skiff/skiff/runtime/container"
)

// cpuSample is the CPU time of something when it was last asked for; rates are between two questions. Nothing is sampled
// while nobody asks.
type cpuSample struct {
	at    time.Time
	nanos uint64
	rate  uint64
	ok    bool
}

// rate of CPU use since the last question, in nanoseconds a second.
func (k *Kubelet) rate(key string, at time.Time, nanos uint64) *uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	last, ok := k.cpu[key]
	s := cpuSample{at: at, nanos: nanos}
	if ok && at.Sub(last.at) < 5*time.Second { // two who ask at once get one answer
		s = last
	} else if ok && nanos >= last.nanos {
		s.rate, s.ok = uint64(float64(nanos-last.nanos)/at.Sub(last.at).Seconds()), true
	}
	k.cpu[key] = s
	if len(k.cpu) > 5000 {
		k.cpu = map[string]cpuSample{}
	}
	if !s.ok {
		return nil
	}
	return &s.rate
}

func (k *Kubelet) cpuOf(key string, s container.Stats) *httpapi.CPU {
	return &httpapi.CPU{Time: s.Time, UsageNanoCores: k.rate(key, s.Time, s.CPUNanos), UsageCoreNanoSeconds: s.CPUNanos}
}

func memoryOf(s container.Stats) *httpapi.Memory {
	return &httpapi.Memory{Time: s.Time, UsageBytes: s.MemoryUsage, WorkingSetBytes: s.WorkingSet, RSSBytes: s.RSS, PageFaults: s.PageFaults, MajorPageFaults: s.MajorPageFaults}
}

// Summary of the node and its pods.
func (v view) Summary() *httpapi.Summary {
	k := v.k
	out := &httpapi.Summary{Node: k.nodeStats(), Pods: []httpapi.PodStats{}}
	for _, w := range k.workers() {
		pod := w.shown()
		w.mu.Lock()
		id := w.sandbox
		w.mu.Unlock()
		s, ok := k.cfg.Runtime.Sandbox(id)
		if !ok || s.State != container.SandboxReady {
			continue
		}
		ps := httpapi.PodStats{StartTime: s.CreatedAt, Containers: []httpapi.ContainerStats{}}
		ps.PodRef.Name, ps.PodRef.Namespace, ps.PodRef.UID = pod.Name, pod.Namespace, pod.UID
		if st, err := k.cfg.Runtime.SandboxStats(id); err == nil {
			ps.CPU, ps.Memory = k.cpuOf(id, st), memoryOf(st)
			ps.Network = &httpapi.Network{Time: st.Time, Name: "eth0", RxBytes: st.RxBytes, RxErrors: st.RxErrors, TxBytes: st.TxBytes, TxErrors: st.TxErrors}
		}
		for _, c := range s.Containers {
			if c.State != container.Running {
				continue
			}
			if st, err := k.cfg.Runtime.ContainerStats(c.Spec.ID); err == nil {
				ps.Containers = append(ps.Containers, httpapi.ContainerStats{Name: c.Spec.Labels[labelContainer], StartTime: c.StartedAt, CPU: k.cpuOf(c.Spec.ID, st), Memory: memoryOf(st)})
			}
		}
		out.Pods = append(out.Pods, ps)
	}
	return out
}

func (k *Kubelet) nodeStats() httpapi.NodeStats {
	now := k.cfg.Now()
	mi := meminfo()
	total, available := uint64(mi["MemTotal"]), uint64(mi["MemAvailable"])
	n := httpapi.NodeStats{NodeName: k.cfg.NodeName, StartTime: k.started}
	cpu := nodeCPU()
	n.CPU = &httpapi.CPU{Time: now, UsageNanoCores: k.rate("node", now, cpu), UsageCoreNanoSeconds: cpu}
	n.Memory = &httpapi.Memory{Time: now, AvailableBytes: &available, UsageBytes: total - uint64(mi["MemFree"]), WorkingSetBytes: total - available, RSSBytes: uint64(mi["AnonPages"])}
	if d, ok := readDisk(k.cfg.Paths.Data); ok {
		n.Fs = &httpapi.Fs{Time: now, AvailableBytes: d.avail, CapacityBytes: d.capacity, UsedBytes: d.used, InodesFree: d.inodesFree, Inodes: d.inodes}
	}
	return n
}

// nodeCPU is the machine's CPU time but idle and waiting, in nanoseconds.
func nodeCPU() (nanos uint64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		n, _ := strconv.ParseUint(f, 10, 64)
		nanos += n * 10_000_000 // USER_HZ is 100 for every Linux user space
	}
	return nanos
}

// Metrics in the text format, by the names that dashboards use.
func (v view) Metrics(w io.Writer, path string) error {
	var b strings.Builder
	switch path {
	case "/probes":
		b.WriteString("# TYPE prober_probe_total counter\n")
		for c, n := range v.k.probes.Counts() {
			fmt.Fprintf(&b, "prober_probe_total{container=%q,namespace=%q,pod=%q,pod_uid=%q,probe_type=%q,result=%q} %d\n", c.Container, c.Namespace, c.Pod, c.UID, c.Type, c.Result, n)
		}
	case "/resource":
		v.resourceMetrics(&b, v.Summary())
	case "/cadvisor":
		v.cadvisorMetrics(&b, v.Summary())
	default:
		running, containers := 0, 0
		for _, s := range v.k.cfg.Runtime.List() {
			if s.State == container.SandboxReady {
				running++
			}
			for _, c := range s.Containers {
				if c.State == container.Running {
					containers++
				}
			}
		}
		fmt.Fprintf(&b, "# TYPE kubelet_running_pods gauge\nkubelet_running_pods %d\n# TYPE kubelet_running_containers gauge\nkubelet_running_containers{container_state=\"running\"} %d\n", running, containers)
		fmt.Fprintf(&b, "# TYPE kubelet_node_name gauge\nkubelet_node_name{node=%q} 1\n", v.k.cfg.NodeName)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func seconds(nanos uint64) float64 { return float64(nanos) / 1e9 }

func (v view) resourceMetrics(b *strings.Builder, s *httpapi.Summary) {
	b.WriteString("# TYPE node_cpu_usage_seconds_total counter\n")
	fmt.Fprintf(b, "node_cpu_usage_seconds_total %g\n# TYPE node_memory_working_set_bytes gauge\nnode_memory_working_set_bytes %d\n", seconds(s.Node.CPU.UsageCoreNanoSeconds), s.Node.Memory.WorkingSetBytes)
	var cpu, mem, start, podCPU, podMem strings.Builder
	for _, p := range s.Pods {
		for _, c := range p.Containers {
			l := fmt.Sprintf("{container=%q,namespace=%q,pod=%q}", c.Name, p.PodRef.Namespace, p.PodRef.Name)
			fmt.Fprintf(&cpu, "container_cpu_usage_seconds_total%s %g\n", l, seconds(c.CPU.UsageCoreNanoSeconds))
			fmt.Fprintf(&mem, "container_memory_working_set_bytes%s %d\n", l, c.Memory.WorkingSetBytes)
			fmt.Fprintf(&start, "container_start_time_seconds%s %g\n", l, float64(c.StartTime.UnixNano())/1e9)
		}
		if p.CPU != nil {
			l := fmt.Sprintf("{namespace=%q,pod=%q}", p.PodRef.Namespace, p.PodRef.Name)
			fmt.Fprintf(&podCPU, "pod_cpu_usage_seconds_total%s %g\n", l, seconds(p.CPU.UsageCoreNanoSeconds))
			fmt.Fprintf(&podMem, "pod_memory_working_set_bytes%s %d\n", l, p.Memory.WorkingSetBytes)
		}
	}
	fmt.Fprintf(b, "# TYPE container_cpu_usage_seconds_total counter\n%s# TYPE container_memory_working_set_bytes gauge\n%s# TYPE container_start_time_seconds gauge\n%s", cpu.String(), mem.String(), start.String())
	fmt.Fprintf(b, "# TYPE pod_cpu_usage_seconds_total counter\n%s# TYPE pod_memory_working_set_bytes gauge\n%s", podCPU.String(), podMem.String())
	b.WriteString("# TYPE scrape_error gauge\nscrape_error 0\n")
}

func (v view) cadvisorMetrics(b *strings.Builder, s *httpapi.Summary) {
	type row struct{ name, kind string }
	out := map[row]*strings.Builder{}
	add := func(name, kind, labels string, value float64) {
		r := row{name, kind}
		if out[r] == nil {
			out[r] = &strings.Builder{}
		}
		fmt.Fprintf(out[r], "%s{%s} %g\n", name, labels, value)
	}
	for _, p := range s.Pods {
		for _, c := range p.Containers {
			l := fmt.Sprintf("container=%q,namespace=%q,pod=%q", c.Name, p.PodRef.Namespace, p.PodRef.Name)
			add("container_cpu_usage_seconds_total", "counter", l, seconds(c.CPU.UsageCoreNanoSeconds))
			add("container_memory_usage_bytes", "gauge", l, float64(c.Memory.UsageBytes))
			add("container_memory_working_set_bytes", "gauge", l, float64(c.Memory.WorkingSetBytes))
			add("container_memory_rss", "gauge", l, float64(c.Memory.RSSBytes))
		}
		if n := p.Network; n != nil {
			l := fmt.Sprintf("interface=%q,namespace=%q,pod=%q", n.Name, p.PodRef.Namespace, p.PodRef.Name)
			add("container_network_receive_bytes_total", "counter", l, float64(n.RxBytes))
			add("container_network_transmit_bytes_total", "counter", l, float64(n.TxBytes))
		}
	}
	for r, rows := range out {
		fmt.Fprintf(b, "# TYPE %s %s\n%s", r.name, r.kind, rows.String())
	}
}
