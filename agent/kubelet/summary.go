package kubelet

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/internal/podrefs"
	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/stats"
)

func (k *Kubelet) cpuOf(key string, s container.Stats) *statsapi.CPUStats {
	return &statsapi.CPUStats{Time: metav1.NewTime(s.Time), UsageNanoCores: k.rate(key, s.Time, s.CPUNanos), UsageCoreNanoSeconds: new(s.CPUNanos)}
}

// memoryOf a cgroup; limit 0 is none.
func memoryOf(s container.Stats, limit uint64) *statsapi.MemoryStats {
	m := &statsapi.MemoryStats{Time: metav1.NewTime(s.Time), UsageBytes: new(s.MemoryUsage), WorkingSetBytes: new(s.WorkingSet), RSSBytes: new(s.RSS),
		PageFaults: new(s.PageFaults), MajorPageFaults: new(s.MajorPageFaults)}
	if limit > 0 {
		m.AvailableBytes = new(less64(limit, s.WorkingSet))
	}
	return m
}

func less64(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

func swapOf(s container.Stats) *statsapi.SwapStats {
	return &statsapi.SwapStats{Time: metav1.NewTime(s.Time), SwapUsageBytes: new(s.Swap), SwapAvailableBytes: new(less64(s.SwapLimit, s.Swap))}
}

func networkOf(at metav1.Time, list []stats.Network) *statsapi.NetworkStats {
	if len(list) == 0 {
		return nil
	}
	n := &statsapi.NetworkStats{Time: at}
	for _, i := range list {
		s := statsapi.InterfaceStats{Name: i.Name, RxBytes: new(i.RxBytes), RxErrors: new(i.RxErrors), TxBytes: new(i.TxBytes), TxErrors: new(i.TxErrors)}
		n.Interfaces = append(n.Interfaces, s)
		if n.Name == "" || i.Name == "eth0" {
			n.InterfaceStats = s
		}
	}
	return n
}

// Summary of the node and its pods. What has to be measured by walking files is a minute old at most, or left out when it takes too long.
func (v view) Summary(ctx context.Context, onlyCPU bool) *statsapi.Summary {
	k := v.k
	ctx, cancel := context.WithTimeout(ctx, measurePatience)
	defer cancel()
	k.measure.prune()
	out := &statsapi.Summary{Node: k.nodeStats(onlyCPU), Pods: []statsapi.PodStats{}}
	for _, w := range k.workers() {
		if p, ok := k.podStats(ctx, w, onlyCPU); ok {
			out.Pods = append(out.Pods, p)
		}
	}
	return out
}

// podStats of a pod that runs.
func (k *Kubelet) podStats(ctx context.Context, w *worker, onlyCPU bool) (ps statsapi.PodStats, ok bool) {
	pod := w.shown()
	w.mu.Lock()
	id := w.sandbox
	w.mu.Unlock()
	s, ok := k.cfg.Runtime.Sandbox(id)
	if !ok || s.State != container.SandboxReady {
		return ps, false
	}
	ps = statsapi.PodStats{StartTime: metav1.NewTime(s.CreatedAt), Containers: []statsapi.ContainerStats{},
		PodRef: statsapi.PodReference{Name: pod.Name, Namespace: pod.Namespace, UID: string(pod.UID)}}
	if st, err := k.cfg.Runtime.SandboxStats(id); err == nil {
		ps.CPU, ps.Memory, ps.Swap = k.cpuOf(id, st), memoryOf(st, st.MemoryLimit), swapOf(st)
		if !onlyCPU {
			ps.Network, ps.ProcessStats = networkOf(ps.CPU.Time, st.Interfaces), &statsapi.ProcessStats{ProcessCount: new(st.PIDs)}
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
		cs := statsapi.ContainerStats{Name: c.Spec.Labels[labelContainer], StartTime: metav1.NewTime(c.StartedAt), CPU: k.cpuOf(c.Spec.ID, st), Memory: memoryOf(st, st.MemoryLimit), Swap: swapOf(st)}
		if !onlyCPU {
			cs.Rootfs, cs.Logs = k.rootfs(ctx, c), k.logs(ctx, c)
		}
		ps.Containers = append(ps.Containers, cs)
	}
	if !onlyCPU {
		ps.VolumeStats = k.volumeStats(ctx, w, pod)
		ps.EphemeralStorage = k.ephemeral(pod, &ps)
	}
	return ps, true
}

// fsOf is a file system with what somebody uses of it; nil when it cannot be asked.
func fsOf(dir string, u use, known bool) *statsapi.FsStats {
	d, ok := readDisk(dir)
	if !ok {
		return nil
	}
	fs := &statsapi.FsStats{Time: metav1.Now(), AvailableBytes: new(d.avail), CapacityBytes: new(d.capacity), InodesFree: new(d.inodesFree), Inodes: new(d.inodes)}
	if known {
		fs.UsedBytes, fs.InodesUsed = new(uint64(u.bytes)), new(uint64(u.inodes))
	}
	return fs
}

// whole is a file system with all that is used of it.
func whole(dir string) *statsapi.FsStats {
	d, ok := readDisk(dir)
	if !ok {
		return nil
	}
	return fsOf(dir, use{int64(d.used), int64(less64(d.inodes, d.inodesFree))}, true)
}

func (k *Kubelet) rootfs(ctx context.Context, c container.Container) *statsapi.FsStats {
	if k.cfg.LayerUsage == nil {
		return nil
	}
	u, known := k.measure.get(ctx, "layer "+c.Spec.ID, func() (u use, err error) {
		u.bytes, u.inodes, err = k.cfg.LayerUsage(c.Spec.ID)
		return u, err
	})
	return fsOf(k.cfg.Paths.Images(), u, known)
}

func (k *Kubelet) logs(ctx context.Context, c container.Container) *statsapi.FsStats {
	if c.Spec.LogPath == "" {
		return nil
	}
	dir := filepath.Dir(c.Spec.LogPath)
	u, known := k.measure.get(ctx, "dir "+dir, func() (use, error) { return k.logUse(context.Background(), dir), nil })
	return fsOf(k.cfg.Paths.Log, u, known)
}

func (k *Kubelet) measureDir(ctx context.Context, dir string) (use, bool) {
	return k.measure.get(ctx, "dir "+dir, func() (use, error) { return diskUse(context.Background(), dir), nil })
}

// volumeStats of the pod's volumes, but for those of the host, of which nobody knows whose they are.
func (k *Kubelet) volumeStats(ctx context.Context, w *worker, pod *corev1.Pod) (out []statsapi.VolumeStats) {
	w.mu.Lock()
	mounted := w.volumes
	w.mu.Unlock()
	if mounted == nil {
		return nil
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		path := mounted.Volumes[v.Name].Path
		if path == "" || v.HostPath != nil || v.Image != nil {
			continue
		}
		s := statsapi.VolumeStats{Name: v.Name}
		fs := (*statsapi.FsStats)(nil)
		if claim := podrefs.ClaimName(pod, v); claim != "" || v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumMemory {
			fs = whole(path) // a file system of its own
			if claim != "" {
				s.PVCRef = &statsapi.PVCReference{Name: claim, Namespace: pod.Namespace}
			}
		} else {
			u, known := k.measureDir(ctx, path)
			fs = fsOf(path, u, known)
		}
		if fs != nil {
			s.FsStats = *fs
			out = append(out, s)
		}
	}
	return out
}

// ephemeral is what the pod uses of the node's own disk: writable layers, logs and local volumes.
func (k *Kubelet) ephemeral(pod *corev1.Pod, ps *statsapi.PodStats) *statsapi.FsStats {
	var u use
	add := func(fs *statsapi.FsStats) {
		if fs != nil && fs.UsedBytes != nil {
			u.bytes, u.inodes = u.bytes+int64(*fs.UsedBytes), u.inodes+int64(*fs.InodesUsed)
		}
	}
	logged := map[string]bool{}
	for i := range ps.Containers {
		add(ps.Containers[i].Rootfs)
		if name := ps.Containers[i].Name; !logged[name] {
			logged[name] = true
			add(ps.Containers[i].Logs)
		}
	}
	memory := map[string]bool{}
	for i := range pod.Spec.Volumes {
		e := pod.Spec.Volumes[i].EmptyDir
		memory[pod.Spec.Volumes[i].Name] = e == nil || e.Medium != corev1.StorageMediumDefault
	}
	for i := range ps.VolumeStats {
		if !memory[ps.VolumeStats[i].Name] {
			add(&ps.VolumeStats[i].FsStats)
		}
	}
	return fsOf(k.cfg.Paths.Data, u, true)
}

func (k *Kubelet) nodeStats(onlyCPU bool) statsapi.NodeStats {
	now := metav1.NewTime(k.cfg.Now())
	mi, faults := meminfo(), vmstat()
	total, available := uint64(mi["MemTotal"]), uint64(mi["MemAvailable"])
	cpu := nodeCPU()
	n := statsapi.NodeStats{NodeName: k.cfg.NodeName, StartTime: metav1.NewTime(bootTime()),
		CPU: &statsapi.CPUStats{Time: now, UsageNanoCores: k.rate("node", now.Time, cpu), UsageCoreNanoSeconds: new(cpu)},
		Memory: &statsapi.MemoryStats{Time: now, AvailableBytes: &available, UsageBytes: new(total - uint64(mi["MemFree"])), WorkingSetBytes: new(total - available),
			RSSBytes: new(uint64(mi["AnonPages"])), PageFaults: new(faults["pgfault"]), MajorPageFaults: new(faults["pgmajfault"])},
		Swap: &statsapi.SwapStats{Time: now, SwapAvailableBytes: new(uint64(mi["SwapFree"])), SwapUsageBytes: new(uint64(mi["SwapTotal"] - mi["SwapFree"]))},
	}
	n.SystemContainers = k.systemContainers()
	if onlyCPU {
		return n
	}
	if all, err := stats.Interfaces(os.Getpid()); err == nil {
		n.Network = networkOf(now, all)
	}
	n.Fs = whole(k.cfg.Paths.Data)
	n.Runtime = &statsapi.RuntimeStats{ImageFs: whole(k.cfg.Paths.Images()), ContainerFs: whole(k.cfg.Paths.Snapshots())}
	if bytes, err := k.cfg.Images.Usage(); err == nil && n.Runtime.ImageFs != nil {
		n.Runtime.ImageFs.UsedBytes = new(uint64(bytes))
	}
	n.Rlimit = &statsapi.RlimitStats{Time: now, MaxPID: new(maxPIDs()), NumOfRunningProcesses: new(threads())}
	return n
}

// systemContainers are all pods together, and this process, which is kubelet and runtime in one.
func (k *Kubelet) systemContainers() (out []statsapi.ContainerStats) {
	start := metav1.NewTime(k.started)
	if st, err := k.cfg.Runtime.GroupStats(podres.Pods); err == nil {
		enforced := k.node.enforced()
		out = append(out, statsapi.ContainerStats{Name: statsapi.SystemContainerPods, StartTime: metav1.NewTime(bootTime()),
			CPU: k.cpuOf("pods", st), Memory: memoryOf(st, uint64(enforced.Memory().Value()))})
	}
	if st, err := stats.Process(os.Getpid()); err == nil {
		s := container.Stats{Time: st.Time, CPUNanos: st.CPUNanos, MemoryUsage: st.RSS, WorkingSet: st.RSS, RSS: st.RSS, PageFaults: st.PageFaults, MajorPageFaults: st.MajorPageFaults}
		out = append(out, statsapi.ContainerStats{Name: statsapi.SystemContainerKubelet, StartTime: start, CPU: k.cpuOf("kubelet", s), Memory: memoryOf(s, 0)})
	}
	return out
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
