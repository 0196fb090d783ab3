package kubelet

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	cgroups "github.com/opencontainers/cgroups"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/agent/kubelet/objects"
	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/probe"
	"codeberg.org/skiff/skiff/agent/kubelet/volume"
	"codeberg.org/skiff/skiff/runtime/container"
)

// Kubelet runs the pods of one node.
type Kubelet struct {
	cfg     Config
	objects *objects.Cache
	volumes *volume.Manager
	probes  *probe.Manager
	pulls   *puller
	events  *recorder
	node    *node
	svc     *services
	groups  groups
	evictor evictor
	usage   imageUsage
	counts  *counts
	measure measurer
	// firstPod is the first one on the pod network.
	firstPod sync.Once
	v2       bool // cgroup v2 alone
	armor    armor
	started  time.Time

	wg sync.WaitGroup // workers

	granting sync.Mutex // held while room is looked for and taken

	mu      sync.Mutex
	ctx     context.Context // of Run; workers live in it
	pods    map[types.UID]*worker
	mirrors map[types.NamespacedName]*corev1.Pod // mirror pods in the API, of static pods
	// sweeping are the mirrors without a static pod that are being deleted.
	sweeping map[types.UID]bool
	// finished pods whose object is still there (finalizers): they are not started again.
	finished map[types.UID]bool
	// heard: the sources that have said everything once; orphans are removed when both have.
	heardAPI, heardFiles bool
	cpu                  map[string]cpuSample
}

// New returns a kubelet. It starts nothing and touches nothing.
func New(cfg Config) (*Kubelet, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	counts := newCounts()
	cfg.Runtime = counted{cfg.Runtime, counts}
	k := &Kubelet{cfg: cfg, counts: counts, v2: cgroups.IsCgroup2UnifiedMode(), armor: hostArmor(), started: cfg.Now(),
		pods: map[types.UID]*worker{}, mirrors: map[types.NamespacedName]*corev1.Pod{}, finished: map[types.UID]bool{}, sweeping: map[types.UID]bool{}, cpu: map[string]cpuSample{},
		groups: groups{have: map[string]container.Resources{}}, usage: imageUsage{last: map[string]time.Time{}}, measure: measurer{have: map[string]*measured{}}}
	k.objects = objects.New(objects.Config{Client: cfg.Client, Dir: filepath.Join(cfg.Paths.Data, "agent", "objects"),
		Changed: k.objectChanged, NodeUID: k.nodeUID, Log: cfg.Log, Now: cfg.Now})
	k.volumes = volume.New(volume.Config{Dir: cfg.Paths.Pods(), Memory: k.memoryDir(), Objects: k.objects,
		Claim: k.claim, Layers: k.layers, Log: cfg.Log})
	k.probes = probe.New(probe.Config{Exec: k.probeExec, Changed: k.wake, Event: k.probeEvent, Took: counts.probed, Log: cfg.Log})
	k.pulls = newPuller(cfg.Images, newPullRecords(filepath.Join(cfg.Paths.Data, "agent", "pulled")))
	k.events = newRecorder(cfg.Client, cfg.NodeName, k.nodeUID)
	k.node = newNode(k)
	k.svc = &services{k: k}
	return k, nil
}

func (k *Kubelet) nodeUID() types.UID {
	if n := k.node.object(); n != nil {
		return n.UID
	}
	return ""
}

// memoryDir holds the pods' volumes in memory.
func (k *Kubelet) memoryDir() string { return filepath.Join(k.cfg.Paths.Run, "pods") }

// Run serves pods until ctx ends. Containers keep running.
func (k *Kubelet) Run(ctx context.Context) error {
	if err := volume.EnsureMemory(k.memoryDir()); err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k.mu.Lock()
	k.ctx = ctx
	k.mu.Unlock()
	parts := []func(context.Context) error{k.objects.Run, k.probes.Run, k.events.run, k.dispatch, k.watchFiles, k.housekeeping, k.localStorage, k.enforce, k.shutdown, k.watchOOM, k.serve}
	if k.cfg.Client != nil {
		parts = append(parts, k.watchPods, k.node.run, k.svc.run)
	} else {
		parts = append(parts, k.standalone)
	}
	errs := make(chan error, len(parts))
	for _, run := range parts {
		go func() {
			err := run(ctx)
			if err != nil {
				cancel()
			}
			errs <- err
		}()
	}
	var all []error
	for range parts {
		all = append(all, <-errs)
	}
	k.wg.Wait()
	return errors.Join(all...)
}

// dispatch wakes the workers whose containers changed.
func (k *Kubelet) dispatch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-k.cfg.Runtime.Events():
			if !ok {
				return nil
			}
			begun := time.Now()
			k.wake(uidOfSandbox(e.SandboxID))
			k.counts.relist.Observe(time.Since(begun).Seconds())
		}
	}
}

// wake the worker of a pod.
func (k *Kubelet) wake(uid types.UID) {
	k.mu.Lock()
	w := k.pods[uid]
	k.mu.Unlock()
	if w != nil {
		w.wakeUp()
	}
}

// objectChanged is told that a ConfigMap or Secret of the pod changed.
func (k *Kubelet) objectChanged(uid types.UID) {
	k.mu.Lock()
	w := k.pods[uid]
	k.mu.Unlock()
	if w != nil {
		w.refreshVolumes()
	}
}

// NodeChanged makes the node's status be computed and sent now, e.g. when the network has become ready, and pods try again what failed.
func (k *Kubelet) NodeChanged() {
	k.node.wakeUp()
	for _, w := range k.workers() {
		w.retry()
	}
}

// claim returns a claim and the volume that is bound to it.
func (k *Kubelet) claim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume, error) {
	if k.cfg.Client == nil {
		return nil, nil, errors.New("no server to ask for the persistent volume claim")
	}
	c, err := k.cfg.Client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("get persistent volume claim: %w", err)
	}
	if c.Spec.VolumeName == "" || c.Status.Phase != corev1.ClaimBound {
		return nil, nil, fmt.Errorf("PVC %s/%s is not bound", namespace, name)
	}
	pv, err := k.cfg.Client.CoreV1().PersistentVolumes().Get(ctx, c.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("get persistent volume: %w", err)
	}
	return c, pv, nil
}

// probeExec runs a probe's command.
func (k *Kubelet) probeExec(ctx context.Context, id string, args []string, out ioWriter, timeout time.Duration) (int, error) {
	return k.cfg.Runtime.Exec(ctx, id, container.ExecSpec{Args: args, Stdout: out, Stderr: out, Timeout: timeout})
}

func (k *Kubelet) probeEvent(pod *corev1.Pod, name, reason, message string) {
	k.events.container(pod, name, corev1.EventTypeWarning, reason, "%s", message)
}

// networkDown says why pods cannot be connected yet.
func (k *Kubelet) networkDown() error {
	if k.cfg.NetworkReady == nil {
		return nil
	}
	return k.cfg.NetworkReady()
}

// snapshot of all workers.
func (k *Kubelet) workers() []*worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]*worker, 0, len(k.pods))
	for _, w := range k.pods {
		out = append(out, w)
	}
	return out
}

// forget a pod that is gone.
func (k *Kubelet) forget(w *worker, objectLeft bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pods[w.uid] == w {
		delete(k.pods, w.uid)
	}
	go func() {
		k.probes.Gone(w.uid)
		k.counts.unprobed(w.title)
	}()
	if objectLeft {
		k.finished[w.uid] = true
	}
}

// evict ends a pod as Failed.
func (k *Kubelet) evict(uid types.UID, v plan.Verdict) {
	k.mu.Lock()
	w := k.pods[uid]
	k.mu.Unlock()
	if w != nil {
		w.end(v)
	}
}
