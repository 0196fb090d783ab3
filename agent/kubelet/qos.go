package kubelet

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/runtime/container"
)

// Words of --enforce-node-allocatable.
const (
	EnforcePods   = "pods"
	EnforceSystem = "system-reserved"
	EnforceKube   = "kube-reserved"
	// The same for CPU alone.
	EnforceSystemCompressible = "system-reserved-compressible"
	EnforceKubeCompressible   = "kube-reserved-compressible"
)

// enforceAgain is how long limits that cannot be set yet (more is used than they allow) wait.
const enforceAgain = time.Minute

// groups are the cgroups above pods, as they were set last.
type groups struct {
	mu   sync.Mutex
	have map[string]container.Resources
}

// weight is what a burstable pod asks for, as it was worked out last.
type weight struct {
	pod     *corev1.Pod
	granted *grant
	milli   int64
}

// updateGroups gives the QoS classes the weight of the pods that are there. It is called when a pod comes, changes or goes, and writes only
// what changed.
func (k *Kubelet) updateGroups() error {
	burstable := int64(0)
	for _, w := range k.workers() {
		burstable += w.burstable()
	}
	k.groups.mu.Lock()
	defer k.groups.mu.Unlock()
	want := podres.Groups(k.node.enforced(), burstable)
	var errs []error
	for _, name := range []string{podres.Root, podres.Pods, podres.Burstable, podres.BestEffort} {
		r := want[name]
		if err := k.setGroup(name, r); err != nil {
			errs = append(errs, err)
			continue
		}
		k.groups.have[name] = r
	}
	return errors.Join(errs...)
}

// setGroup writes what changed. Called with k.groups.mu held.
func (k *Kubelet) setGroup(name string, r container.Resources) error {
	have, ok := k.groups.have[name]
	switch {
	case ok && reflect.DeepEqual(have, r):
		return nil
	case ok:
		have.CPUShares = r.CPUShares
		if reflect.DeepEqual(have, r) { // the usual: a burstable pod came or went
			return k.cfg.Runtime.WeighGroup(name, r.CPUShares)
		}
	}
	return k.cfg.Runtime.SetGroup(name, r)
}

// balance is updateGroups for a caller who cannot do anything about its failing.
func (k *Kubelet) balance() {
	if err := k.updateGroups(); err != nil {
		k.cfg.Log.Warn("cannot weigh the classes of pods", "err", err)
	}
}

// burstable is the pod's CPU request in thousandths, if it is a burstable pod that has not ended.
func (w *worker) burstable() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.verdict != nil || !w.ending.IsZero() && w.torn {
		return 0
	}
	if w.weight.pod != w.pod || w.weight.granted != w.granted {
		w.weight = weight{pod: w.pod, granted: w.granted}
		if pod := w.grantedLocked(); podres.QOS(pod) == corev1.PodQOSBurstable {
			requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
			w.weight.milli = requests.Cpu().MilliValue()
		}
	}
	return w.weight.milli
}

// enforce sets the limits of all pods together, and of what is not pods where that was asked for. It ends when that is done.
func (k *Kubelet) enforce(ctx context.Context) error {
	for {
		err := k.enforceOnce()
		if err == nil {
			k.events.onNode(corev1.EventTypeNormal, "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
			return nil
		}
		k.cfg.Log.Warn("cannot limit what all pods together may use", "err", err)
		k.events.onNode(corev1.EventTypeWarning, "FailedNodeAllocatableEnforcement", "Failed to update Node Allocatable Limits: %v", err)
		sleep(ctx, enforceAgain)
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (k *Kubelet) enforceOnce() error {
	errs := []error{k.updateGroups()}
	for _, e := range []struct {
		word, cgroup string
		list         corev1.ResourceList
		compressible bool
	}{
		{EnforceSystem, k.cfg.SystemReservedCgroup, k.cfg.SystemReserved, false}, {EnforceSystemCompressible, k.cfg.SystemReservedCgroup, k.cfg.SystemReserved, true},
		{EnforceKube, k.cfg.KubeReservedCgroup, k.cfg.KubeReserved, false}, {EnforceKubeCompressible, k.cfg.KubeReservedCgroup, k.cfg.KubeReserved, true},
	} {
		if !slices.Contains(k.cfg.Enforce, e.word) {
			continue
		}
		if err := k.cfg.Runtime.LimitCgroup(e.cgroup, podres.Reserved(e.list, e.compressible)); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", e.word, err))
		}
	}
	return errors.Join(errs...)
}
