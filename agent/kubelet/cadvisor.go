package kubelet

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/stats"
)

// cadvisor is /metrics/cadvisor: cgroups by the names and labels that dashboards know from cAdvisor.
func (k *Kubelet) cadvisor(ctx context.Context) *page {
	p := newPage()
	ctx, cancel := context.WithTimeout(ctx, measurePatience)
	defer cancel()
	k.measure.prune()
	k.cadvisorMachine(p)
	for _, name := range []string{podres.Pods, podres.Burstable, podres.BestEffort} {
		if st, err := k.cfg.Runtime.GroupStats(name); err == nil {
			d, id, _ := k.cfg.Runtime.GroupDetail(name)
			cgroupRows(p, cgroupLabels(id, "", "", nil, ""), st, d, bootTime())
		}
	}
	for _, w := range k.workers() {
		k.cadvisorPod(ctx, p, w)
	}
	p.add("container_scrape_error", gauge, "1 when something could not be read.", 0, "")
	return p
}

// cgroupLabels are those of cAdvisor: where it is, what it is, and whose. Whatever is not a container has no name and no image.
func cgroupLabels(id, image, name string, pod *corev1.Pod, containerName string) string {
	podName, namespace := "", ""
	if pod != nil {
		podName, namespace = pod.Name, pod.Namespace
	}
	return labels("container", containerName, "id", id, "image", image, "name", name, "namespace", namespace, "pod", podName)
}

func (k *Kubelet) cadvisorMachine(p *page) {
	m := &k.node.machine
	machine := labels("boot_id", m.info.BootID, "machine_id", m.info.MachineID, "system_uuid", m.info.SystemUUID)
	p.add("machine_cpu_cores", gauge, "CPUs of the machine.", float64(m.cpus), machine)
	p.add("machine_memory_bytes", gauge, "Memory of the machine.", float64(m.memory), machine)
	p.add("machine_swap_bytes", gauge, "Swap of the machine.", float64(meminfo()["SwapTotal"]), machine)
	p.add("machine_scrape_error", gauge, "1 when something could not be read.", 0, "")
	p.add("cadvisor_version_info", gauge, "What measures, and on what.", 1,
		labels("cadvisorRevision", "", "cadvisorVersion", "", "dockerVersion", "", "kernelVersion", m.info.KernelVersion, "osVersion", m.info.OSImage))
	mi, cpu := meminfo(), nodeCPU()
	root := cgroupLabels("/", "", "", nil, "")
	p.add("container_cpu_usage_seconds_total", count, "CPU time used, in seconds.", seconds(cpu), labels("container", "", "cpu", "total", "id", "/", "image", "", "name", "", "namespace", "", "pod", ""))
	p.add("container_memory_usage_bytes", gauge, "Memory in use, with the page cache.", float64(mi["MemTotal"]-mi["MemFree"]), root)
	p.add("container_memory_working_set_bytes", gauge, "Memory in use without inactive page cache.", float64(mi["MemTotal"]-mi["MemAvailable"]), root)
	p.add("container_last_seen", gauge, "When it was last seen, in seconds since 1970.", float64(time.Now().Unix()), root)
	p.add("container_start_time_seconds", gauge, "When it started, in seconds since 1970.", float64(bootTime().Unix()), root)
}

func (k *Kubelet) cadvisorPod(ctx context.Context, p *page, w *worker) {
	pod := w.shown()
	w.mu.Lock()
	sandbox := w.sandbox
	w.mu.Unlock()
	s, ok := k.cfg.Runtime.Sandbox(sandbox)
	if !ok || s.State != container.SandboxReady {
		return
	}
	if st, err := k.cfg.Runtime.SandboxStats(sandbox); err == nil {
		d, id, _ := k.cfg.Runtime.SandboxDetail(sandbox)
		cgroupRows(p, cgroupLabels(id, "", "", pod, ""), st, d, s.CreatedAt)
		for _, n := range st.Interfaces {
			networkRows(p, labels("container", "", "id", id, "image", "", "interface", n.Name, "name", sandbox, "namespace", pod.Namespace, "pod", pod.Name), n)
		}
	}
	for _, c := range s.Containers {
		if c.State != container.Running {
			continue
		}
		st, err := k.cfg.Runtime.ContainerStats(c.Spec.ID)
		if err != nil {
			continue
		}
		d, id, _ := k.cfg.Runtime.ContainerDetail(c.Spec.ID)
		image, name := c.Spec.Labels[labelImageRef], c.Spec.Labels[labelContainer]
		if image == "" {
			image = c.Spec.Labels[labelImage]
		}
		l := cgroupLabels(id, image, c.Spec.ID, pod, name)
		cgroupRows(p, l, st, d, c.StartedAt)
		p.add("container_oom_events_total", count, "Processes killed because memory was used up.", float64(d.OOMKills), l)
		k.diskRows(ctx, p, c, labels("container", name, "device", "", "id", id, "image", image, "name", c.Spec.ID, "namespace", pod.Namespace, "pod", pod.Name), d)
	}
}

// cgroupRows are the rows of one cgroup.
func cgroupRows(p *page, l string, st container.Stats, d stats.Detail, start time.Time) {
	p.add("container_cpu_usage_seconds_total", count, "CPU time used, in seconds.", seconds(st.CPUNanos), withCPU(l))
	p.add("container_cpu_user_seconds_total", count, "CPU time used outside the kernel, in seconds.", seconds(d.CPUUserNanos), l)
	p.add("container_cpu_system_seconds_total", count, "CPU time used in the kernel, in seconds.", seconds(d.CPUSystemNanos), l)
	p.add("container_cpu_load_average_10s", gauge, "Not measured: 0, as where cAdvisor does not measure it.", 0, l)
	if d.CPUQuota > 0 {
		p.add("container_cpu_cfs_periods_total", count, "Periods in which the CPU quota counted.", float64(d.CPUPeriods), l)
		p.add("container_cpu_cfs_throttled_periods_total", count, "Periods in which the CPU quota was used up.", float64(d.CPUThrottled), l)
		p.add("container_cpu_cfs_throttled_seconds_total", count, "Time held up by the CPU quota, in seconds.", seconds(d.CPUThrottledNanos), l)
		p.add("container_spec_cpu_quota", gauge, "CPU time allowed a period, in microseconds.", float64(d.CPUQuota), l)
	}
	p.add("container_spec_cpu_period", gauge, "Length of a period of the CPU quota, in microseconds.", float64(d.CPUPeriod), l)
	p.add("container_spec_cpu_shares", gauge, "Weight of the CPU, as cgroup v1 counts it.", float64(d.CPUShares), l)
	p.add("container_spec_memory_limit_bytes", gauge, "Limit of memory; 0 for none.", float64(st.MemoryLimit), l)
	p.add("container_spec_memory_reservation_limit_bytes", gauge, "Soft limit of memory; 0 for none.", 0, l)
	p.add("container_spec_memory_swap_limit_bytes", gauge, "Limit of swap; 0 for none.", float64(st.SwapLimit), l)
	for _, m := range []struct {
		name, help string
		value      uint64
	}{
		{"container_memory_usage_bytes", "Memory in use, with the page cache.", st.MemoryUsage},
		{"container_memory_working_set_bytes", "Memory in use without inactive page cache.", st.WorkingSet},
		{"container_memory_rss", "Anonymous memory.", st.RSS},
		{"container_memory_cache", "Page cache.", d.Cache},
		{"container_memory_mapped_file", "Files mapped into memory.", d.MappedFile},
		{"container_memory_kernel_usage", "Memory of the kernel for it.", d.Kernel},
		{"container_memory_swap", "Swap in use.", st.Swap},
		{"container_memory_max_usage_bytes", "The most memory that was in use.", d.MaxUsage},
		{"container_processes", "Processes in this cgroup.", d.Processes},
		{"container_threads", "Threads, with those of cgroups below.", d.Threads},
		{"container_threads_max", "Limit of threads; 0 for none.", d.ThreadsMax},
	} {
		p.add(m.name, gauge, m.help, float64(m.value), l)
	}
	p.add("container_memory_failcnt", count, "How often the limit of memory was reached.", float64(d.Failures), l)
	for kind, n := range map[string]uint64{"pgfault": st.PageFaults, "pgmajfault": st.MajorPageFaults} {
		p.add("container_memory_failures_total", count, "Page faults.", float64(n), withFailure(l, kind))
	}
	p.add("container_last_seen", gauge, "When it was last seen, in seconds since 1970.", float64(st.Time.Unix()), l)
	p.add("container_start_time_seconds", gauge, "When it started, in seconds since 1970.", float64(start.UnixNano())/1e9, l)
}

// withCPU and withFailure add the labels that only some rows have.
func withCPU(l string) string           { return l + `,cpu="total"` }
func withFailure(l, kind string) string { return l + `,failure_type="` + kind + `",scope="container"` }

// diskRows are what a container has written, and its traffic with disks. The device is that of the images; the kernel does not tell files apart by it.
func (k *Kubelet) diskRows(ctx context.Context, p *page, c container.Container, l string, d stats.Detail) {
	if fs := k.rootfs(ctx, c); fs != nil {
		p.add("container_fs_limit_bytes", gauge, "Size of the file system with the writable layer.", float64(*fs.CapacityBytes), l)
		p.add("container_fs_inodes_total", gauge, "Inodes of the file system with the writable layer.", float64(*fs.Inodes), l)
		p.add("container_fs_inodes_free", gauge, "Free inodes of the file system with the writable layer.", float64(*fs.InodesFree), l)
		if fs.UsedBytes != nil {
			p.add("container_fs_usage_bytes", gauge, "What the writable layer takes.", float64(*fs.UsedBytes), l)
		}
	}
	p.add("container_fs_reads_bytes_total", count, "Bytes read from disks.", float64(d.ReadBytes), l)
	p.add("container_fs_writes_bytes_total", count, "Bytes written to disks.", float64(d.WriteBytes), l)
	p.add("container_fs_reads_total", count, "Reads from disks.", float64(d.Reads), l)
	p.add("container_fs_writes_total", count, "Writes to disks.", float64(d.Writes), l)
}

func networkRows(p *page, l string, n stats.Network) {
	for _, m := range []struct {
		name, help string
		value      uint64
	}{
		{"container_network_receive_bytes_total", "Bytes received.", n.RxBytes},
		{"container_network_receive_packets_total", "Packets received.", n.RxPackets},
		{"container_network_receive_packets_dropped_total", "Packets dropped that were to be received.", n.RxDropped},
		{"container_network_receive_errors_total", "Errors with what was to be received.", n.RxErrors},
		{"container_network_transmit_bytes_total", "Bytes sent.", n.TxBytes},
		{"container_network_transmit_packets_total", "Packets sent.", n.TxPackets},
		{"container_network_transmit_packets_dropped_total", "Packets dropped that were to be sent.", n.TxDropped},
		{"container_network_transmit_errors_total", "Errors with what was to be sent.", n.TxErrors},
	} {
		p.add(m.name, count, m.help, float64(m.value), l)
	}
}
