package kubelet

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/runtime/container"
)

// tick of what the kernel gives no event for: free memory and disk.
const tick = 10 * time.Second

// housekeeping looks after memory, disk and images.
func (k *Kubelet) housekeeping(ctx context.Context) error {
	if _, ok := readDisk(k.cfg.Paths.Data); !ok {
		k.events.onNode(corev1.EventTypeWarning, "InvalidDiskCapacity", "invalid capacity 0 on image filesystem")
	}
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		k.collectImages(ctx)
		k.relieve(ctx)
		if k.cfg.Client != nil {
			k.node.wakeUp()
		}
	}
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
	k.sweepMirrors()
	for _, s := range k.cfg.Runtime.List() {
		uid := uidOfSandbox(s.Spec.ID)
		if known[uid] {
			continue
		}
		k.cfg.Log.Info("removing the sandbox of a pod that is gone", "pod", s.Spec.Labels[labelPodNamespace]+"/"+s.Spec.Labels[labelPodName], "sandbox", s.Spec.ID)
		k.counts.orphans.Inc()
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
				if err := removeIn(dir, e.Name()); err != nil {
					k.cfg.Log.Warn("cannot remove what is left of a pod that is gone", "uid", uid, "err", err)
				}
			}
		}
	}
	k.sweepLogs(known)
}

// removeOrphan stops a pod that nobody wants with the grace that its containers were started with.
func (k *Kubelet) removeOrphan(ctx context.Context, s container.Sandbox) {
	var stops sync.WaitGroup
	for _, c := range s.Containers {
		if c.State != container.Running {
			continue
		}
		grace, err := time.ParseDuration(c.Spec.Labels[labelGrace] + "s")
		if err != nil {
			grace = 30 * time.Second
		}
		stops.Go(func() { k.cfg.Runtime.Stop(ctx, c.Spec.ID, grace) })
	}
	stops.Wait()
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
