package kubelet

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"codeberg.org/skiff/skiff/agent/kubelet/eviction"
	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/image"
)

const (
	// tick of what the kernel gives no event for: free memory and disk.
	tick = 10 * time.Second
	// settle is how long after an eviction its effect is awaited.
	settle = 30 * time.Second

	// logMaxFiles is what the runtime, which rotates the logs, keeps of each.
	logMaxFiles = 5
)

// housekeeping looks after memory, disk and images.
func (k *Kubelet) housekeeping(ctx context.Context) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	var evicted time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		k.collectImages(ctx)
		short, any := k.shortage()
		if any && k.cfg.Now().Sub(evicted) > settle {
			evicted = k.cfg.Now()
			k.evictOne(short)
		}
		if k.cfg.Client != nil {
			k.node.wakeUp()
		}
	}
}

// shortage measures the node, tells its conditions, and returns what to relieve first.
func (k *Kubelet) shortage() (s eviction.Shortage, any bool) {
	available := meminfo()["MemAvailable"]
	d, known := readDisk(k.cfg.Paths.Data)
	p := pressure{Memory: available < k.cfg.EvictMemory, Disk: known && d.below(k.cfg.EvictDisk)}
	k.node.setPressure(p)
	switch {
	case p.Memory:
		return eviction.Shortage{Resource: corev1.ResourceMemory, Threshold: k.cfg.EvictMemory, Available: available}, true
	case p.Disk:
		return eviction.Shortage{Resource: corev1.ResourceEphemeralStorage, Threshold: int64(float64(d.size) * k.cfg.EvictDisk), Available: d.free}, true
	}
	return s, false
}

// evictOne ends the pod that the node misses least.
func (k *Kubelet) evictOne(s eviction.Shortage) {
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
		e.Request = q.Value()
		if s.Resource == corev1.ResourceMemory {
			if st, err := k.cfg.Runtime.SandboxStats(id); err == nil {
				e.Usage = int64(st.WorkingSet)
			}
		} else {
			e.Usage = diskUse(w.dir()) + diskUse(w.logDir())
		}
		pods = append(pods, e)
	}
	v, ok := eviction.Victim(pods)
	if !ok {
		return
	}
	msg := eviction.Message(s, v)
	k.cfg.Log.Warn("evicting a pod", "pod", v.Pod.Namespace+"/"+v.Pod.Name, "why", msg)
	k.events.onNode(corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim %s", s.Resource)
	k.events.pod(v.Pod, corev1.EventTypeWarning, "Evicted", "%s", msg)
	now := int64(0)
	k.evict(v.Pod.UID, plan.Verdict{Reason: "Evicted", Message: msg, Grace: &now, Disruption: corev1.PodReasonTerminationByKubelet})
}

func diskUse(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if st, err := d.Info(); err == nil && st.Mode().IsRegular() {
			n += st.Size()
		}
		return nil
	})
	return n
}

// collectImages removes images that no container uses when the disk fills, the oldest first.
func (k *Kubelet) collectImages(ctx context.Context) {
	full := func() bool {
		d, known := readDisk(k.cfg.Paths.Data)
		return known && d.below(1-k.cfg.ImageGCHigh)
	}
	if !full() {
		return
	}
	used := k.imagesInUse()
	list := slices.Clone(k.cfg.Images.List())
	slices.SortStableFunc(list, func(a, b *image.Image) int { return cmp.Compare(a.Created.Unix(), b.Created.Unix()) })
	for _, img := range list {
		if used[img.ID] || !full() {
			continue
		}
		k.cfg.Log.Info("the disk is filling up: removing an unused image", "image", img.Names, "bytes", img.Size)
		if err := k.cfg.Images.Remove(ctx, img.ID, func(id string) bool { return k.imagesInUse()[id] }); err != nil {
			k.cfg.Log.Warn("cannot remove an image", "image", img.Names, "err", err)
		}
	}
}

// ImageInUse says whether a container uses the image.
func (k *Kubelet) ImageInUse(id string) bool { return k.imagesInUse()[id] }

func (k *Kubelet) imagesInUse() map[string]bool {
	used := map[string]bool{}
	for _, s := range k.cfg.Runtime.List() {
		for _, c := range s.Containers {
			used[c.Spec.ImageID] = true
		}
	}
	for _, w := range k.workers() {
		w.mu.Lock()
		for _, u := range w.images {
			used[u.id] = true
		}
		w.mu.Unlock()
	}
	return used
}

// sweep removes what belongs to no pod, once all sources were heard.
func (k *Kubelet) sweep() {
	k.mu.Lock()
	if !k.heardAPI || !k.heardFiles || k.ctx == nil {
		k.mu.Unlock()
		return
	}
	ctx := k.ctx
	known := map[types.UID]bool{}
	for uid := range k.pods {
		known[uid] = true
	}
	k.mu.Unlock()
	for _, s := range k.cfg.Runtime.List() {
		uid := uidOfSandbox(s.Spec.ID)
		if known[uid] {
			continue
		}
		k.cfg.Log.Info("removing the sandbox of a pod that is gone", "pod", s.Spec.Labels[labelPodNamespace]+"/"+s.Spec.Labels[labelPodName], "sandbox", s.Spec.ID)
		k.wg.Add(1)
		go func() { defer k.wg.Done(); k.removeOrphan(ctx, s) }()
	}
	for _, dir := range []string{k.cfg.Paths.Pods(), k.memoryDir(), filepath.Join(k.cfg.Paths.Data, "agent", "objects", "token")} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if uid := types.UID(e.Name()); !known[uid] && !strings.HasPrefix(e.Name(), ".") {
				if err := k.volumes.TearDown(uid); err != nil {
					k.cfg.Log.Warn("cannot take down the volumes of a pod that is gone", "uid", uid, "err", err)
					continue
				}
				os.RemoveAll(filepath.Join(dir, e.Name()))
			}
		}
	}
	k.sweepLogs(known)
}

// removeOrphan stops a pod that nobody wants with the grace that its containers were started with.
func (k *Kubelet) removeOrphan(ctx context.Context, s container.Sandbox) {
	for _, c := range s.Containers {
		if c.State != container.Running {
			continue
		}
		grace, err := time.ParseDuration(c.Spec.Labels[labelGrace] + "s")
		if err != nil {
			grace = 30 * time.Second
		}
		go k.cfg.Runtime.Stop(ctx, c.Spec.ID, grace)
	}
	for _, c := range s.Containers {
		k.cfg.Runtime.Stop(ctx, c.Spec.ID, 30*time.Second)
	}
	if k.cfg.HostPorts != nil {
		k.cfg.HostPorts.Remove(s.Spec.ID)
	}
	if err := k.cfg.Network.Detach(ctx, s.Spec.ID); err != nil {
		k.cfg.Log.Warn("cannot disconnect a sandbox", "sandbox", s.Spec.ID, "err", err)
	}
	if err := k.cfg.Runtime.RemoveSandbox(ctx, s.Spec.ID); err != nil {
		k.cfg.Log.Warn("cannot remove a sandbox", "sandbox", s.Spec.ID, "err", err)
	}
}

// sweepLogs removes logs of pods that are gone, and links that lead nowhere.
func (k *Kubelet) sweepLogs(known map[types.UID]bool) {
	entries, _ := os.ReadDir(k.cfg.Paths.PodLogs())
	for _, e := range entries {
		i := strings.LastIndexByte(e.Name(), '_')
		if i > 0 && strings.Count(e.Name(), "_") == 2 && !known[types.UID(e.Name()[i+1:])] {
			os.RemoveAll(filepath.Join(k.cfg.Paths.PodLogs(), e.Name()))
		}
	}
	links, _ := filepath.Glob(filepath.Join(k.cfg.Paths.ContainerLogs(), "*.log"))
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, k.cfg.Paths.PodLogs()+"/") {
			if _, err := os.Stat(l); err != nil {
				os.Remove(l)
			}
		}
	}
}
