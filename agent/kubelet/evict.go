package kubelet

import (
	"context"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"codeberg.org/skiff/skiff/agent/kubelet/eviction"
	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
)

// settle is how long after an eviction its effect is awaited.
const settle = 30 * time.Second

// evictor is what housekeeping remembers of shortages.
type evictor struct {
	state   eviction.State
	evicted time.Time
	noDisk  bool // at the last look
}

// relieve measures the node, tells its conditions, and ends one pod when something is short and unused images do not help. The disk must be
// short at two looks in a row: an image that does not fit fills it for as long as its pull goes on, and no other pod shall pay for that.
func (k *Kubelet) relieve(ctx context.Context) {
	short := k.look()
	if noDisk(short) {
		k.removeImages(ctx, "space", func(time.Duration) bool { return true })
		short = k.look()
	}
	passing := noDisk(short) && !k.evictor.noDisk
	k.evictor.noDisk = noDisk(short)
	if len(short) == 0 || passing || k.cfg.Now().Sub(k.evictor.evicted) <= settle {
		return
	}
	k.evictor.evicted = k.cfg.Now()
	k.evictOne(ctx, short[0])
}

func noDisk(short []eviction.Shortage) bool {
	return len(short) > 0 && short[0].Resource == corev1.ResourceEphemeralStorage
}

func (k *Kubelet) look() []eviction.Shortage {
	state, r := eviction.Look(k.thresholds(), k.observeSignals(), k.evictor.state, k.cfg.PressureTransition, k.cfg.Now())
	k.evictor.state = state
	k.node.setPressure(pressure{Memory: r.Conditions[corev1.NodeMemoryPressure], Disk: r.Conditions[corev1.NodeDiskPressure], PIDs: r.Conditions[corev1.NodePIDPressure]})
	return r.Short
}

// thresholds are the configured ones, and memory's hard one for what all pods together may have, where that is less than the machine.
func (k *Kubelet) thresholds() []eviction.Threshold {
	out := k.cfg.Thresholds
	if a, ok := eviction.Hard(out, eviction.MemoryAvailable); ok {
		out = append(out[:len(out):len(out)], eviction.Threshold{Signal: eviction.AllocatableMemory, Below: a})
	}
	return out
}

// observeSignals reads what is left of everything that has a threshold.
func (k *Kubelet) observeSignals() map[eviction.Signal]eviction.Observation {
	m := meminfo()
	seen := map[eviction.Signal]eviction.Observation{eviction.MemoryAvailable: {Available: m["MemAvailable"], Capacity: m["MemTotal"]}}
	enforced := k.node.enforced()
	if all := enforced.Memory().Value(); all > 0 && all < k.node.memory() {
		if st, err := k.cfg.Runtime.GroupStats(podres.Pods); err == nil {
			seen[eviction.AllocatableMemory] = eviction.Observation{Available: all - int64(st.WorkingSet), Capacity: all}
		}
	}
	for _, fs := range []struct {
		dir           string
		bytes, inodes eviction.Signal
	}{{k.cfg.Paths.Data, eviction.NodeFsAvailable, eviction.NodeFsInodes}, {k.cfg.Paths.Images(), eviction.ImageFsAvailable, eviction.ImageFsInodes}} {
		d, ok := readDisk(fs.dir)
		if !ok {
			continue
		}
		seen[fs.bytes] = eviction.Observation{Available: d.free, Capacity: d.size}
		if d.inodes > 0 { // some file systems make them as they go
			seen[fs.inodes] = eviction.Observation{Available: int64(d.inodesFree), Capacity: int64(d.inodes)}
		}
	}
	if _, asked := eviction.Hard(k.cfg.Thresholds, eviction.PIDAvailable); asked || k.softPIDs() {
		if most, running := maxPIDs(), threads(); running > 0 {
			seen[eviction.PIDAvailable] = eviction.Observation{Available: most - running, Capacity: most}
		}
	}
	return seen
}

func (k *Kubelet) softPIDs() bool {
	for _, t := range k.cfg.Thresholds {
		if t.Signal == eviction.PIDAvailable {
			return true
		}
	}
	return false
}

// threads of the machine: the number after the slash in the fourth field of /proc/loadavg.
func threads() int64 {
	f := strings.Fields(readLine("/proc/loadavg"))
	if len(f) < 4 {
		return 0
	}
	_, total, _ := strings.Cut(f[3], "/")
	n, _ := strconv.ParseInt(total, 10, 64)
	return n
}

// evictOne ends the pod that the node misses least.
func (k *Kubelet) evictOne(ctx context.Context, s eviction.Shortage) {
	var pods []eviction.Pod
	for _, w := range k.workers() {
		w.mu.Lock()
		p, over, id := w.pod, w.verdict != nil || w.removed, w.sandbox
		w.mu.Unlock()
		if over || id == "" {
			continue
		}
		e := eviction.Pod{Pod: p, Critical: podres.Critical(p, w.static)}
		if p.Spec.Priority != nil {
			e.Priority = *p.Spec.Priority
		}
		requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
		q := requests[s.Resource]
		e.Request, e.Usage = q.Value(), k.usageOf(ctx, w, id, s.Resource)
		pods = append(pods, e)
	}
	v, ok := eviction.Victim(pods)
	k.events.onNode(corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim %s", s.Resource)
	if !ok {
		k.cfg.Log.Warn("the node is short, and there is no pod that could be evicted", "resource", s.Resource)
		return
	}
	msg := eviction.Message(s, v)
	k.cfg.Log.Warn("evicting a pod", "pod", v.Pod.Namespace+"/"+v.Pod.Name, "why", msg)
	k.events.pod(v.Pod, corev1.EventTypeWarning, "Evicted", "%s", msg)
	grace := int64(0)
	if s.Soft {
		grace = int64(k.cfg.SoftGrace / time.Second)
	}
	k.counts.evictions.WithLabelValues(string(s.Signal)).Inc()
	k.evict(v.Pod.UID, plan.Verdict{Reason: "Evicted", Message: msg, Grace: &grace, Disruption: corev1.PodReasonTerminationByKubelet})
}

// usageOf a pod, of the resource that is short.
func (k *Kubelet) usageOf(ctx context.Context, w *worker, sandbox string, name corev1.ResourceName) int64 {
	switch name {
	case corev1.ResourceMemory, eviction.ResourcePIDs:
		st, err := k.cfg.Runtime.SandboxStats(sandbox)
		if err != nil {
			return 0
		}
		if name == corev1.ResourceMemory {
			return int64(st.WorkingSet) + k.volumes.MemoryUse(w.uid)
		}
		return int64(st.PIDs)
	case eviction.ResourceInodes:
		return diskUse(ctx, w.dir()).inodes + k.logUse(ctx, w.logDir()).inodes
	}
	return diskUse(ctx, w.dir()).bytes + k.logUse(ctx, w.logDir()).bytes
}
