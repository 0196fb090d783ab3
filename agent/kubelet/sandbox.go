package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/podenv"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/agent/kubelet/volume"
	"codeberg.org/skiff/skiff/runtime/container"
)

// createSandbox replaces the old sandbox, if any, by a new one that is connected to the network.
func (w *worker) createSandbox(ctx context.Context, pod *corev1.Pod, attempt int) error {
	if err := w.canHonour(ctx, pod); err != nil {
		return err
	}
	w.mu.Lock()
	old := w.sandbox
	w.mu.Unlock()
	if old != "" {
		if s, ok := w.k.cfg.Runtime.Sandbox(old); ok {
			w.retire(s)
			if len(s.Containers) > 0 {
				w.k.events.pod(pod, corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
			}
		}
		if err := w.removeSandbox(ctx, old); err != nil {
			return err
		}
	}
	if err := w.makeDirs(); err != nil {
		return err
	}
	w.wg.Go(func() { w.checkpoint(pod) })
	w.k.balance()
	s, err := w.k.cfg.Runtime.CreateSandbox(ctx, w.sandboxSpec(pod, attempt))
	if err != nil {
		w.k.cfg.Runtime.RemoveSandbox(context.WithoutCancel(ctx), sandboxID(w.uid, attempt))
		return err
	}
	w.mu.Lock()
	w.sandbox, w.lastSandbox, w.connected, w.ips = s.Spec.ID, attempt, false, nil
	w.mu.Unlock()
	return w.connectSandbox(ctx, s.Spec.ID)
}

// connectSandbox gives a sandbox its place in the network.
func (w *worker) connectSandbox(ctx context.Context, id string) error {
	s, ok := w.k.cfg.Runtime.Sandbox(id)
	if !ok {
		return fmt.Errorf("connect sandbox %s to the network: it is gone", id)
	}
	var ips []netip.Addr
	if !s.Spec.HostNetwork {
		var err error
		if ips, err = w.k.cfg.Network.Attach(ctx, id, s.NetNS); err != nil {
			return fmt.Errorf("connect sandbox %s to the network: %w", id, err)
		}
		w.setHostPorts(id, ips)
	}
	w.connect(ips)
	return nil
}

func (w *worker) sandboxSpec(pod *corev1.Pod, attempt int) container.SandboxSpec {
	_, _, uts := podenv.Hostname(pod, w.k.cfg.ClusterDomain)
	spec := container.SandboxSpec{
		ID:       sandboxID(w.uid, attempt),
		Labels:   map[string]string{labelPodUID: string(w.uid), labelPodName: pod.Name, labelPodNamespace: pod.Namespace},
		Hostname: uts, HostNetwork: pod.Spec.HostNetwork, HostPID: pod.Spec.HostPID, HostIPC: pod.Spec.HostIPC,
		SharedPID:     pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace,
		UserNamespace: ownUsers(pod),
		Cgroup:        podres.Cgroup(pod),
		Resources:     podres.Pod(pod, w.k.cfg.PodPIDs),
	}
	if pod.Spec.HostNetwork {
		spec.Hostname = ""
	}
	spec.Sysctls = sysctls(pod, func(name string) bool {
		_, err := os.Stat("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		return err == nil
	})
	return spec
}

// openToAll are the sysctls that k3s and containerd 2 set in every pod's own network namespace: without a capability its
// processes may listen on ports below 1024, and ping. Nothing outside of the pod is there to be harmed.
var openToAll = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", pingGroups: "0 2147483647"}

const pingGroups = "net.ipv4.ping_group_range"

// sysctls of the sandbox: what every pod gets, as far as the kernel has it, and over it what the pod says.
func sysctls(pod *corev1.Pod, exists func(name string) bool) map[string]string {
	out := map[string]string{}
	if !pod.Spec.HostNetwork {
		for name, value := range openToAll {
			if exists(name) {
				out[name] = value
			}
		}
		if _, ok := out[pingGroups]; ok && ownUsers(pod) {
			out[pingGroups] = "0 65535" // all that its user namespace has
		}
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		for _, s := range sc.Sysctls {
			out[strings.ReplaceAll(s.Name, "/", ".")] = s.Value
		}
	}
	return out
}

func (w *worker) setHostPorts(id string, ips []netip.Addr) {
	if w.k.cfg.HostPorts == nil {
		return
	}
	var ports []corev1.ContainerPort
	each(w.current(), func(c *corev1.Container, k kind) {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				ports = append(ports, p)
			}
		}
	})
	if len(ports) > 0 {
		w.k.cfg.HostPorts.Set(id, ips, ports)
	}
}

// disconnect a sandbox from the network.
func (w *worker) disconnect(ctx context.Context, id string) error {
	if w.k.cfg.HostPorts != nil {
		w.k.cfg.HostPorts.Remove(id)
	}
	w.mu.Lock()
	if w.sandbox == id {
		w.connected = false
	}
	w.mu.Unlock()
	if w.current().Spec.HostNetwork {
		return nil
	}
	if err := w.k.cfg.Network.Detach(ctx, id); err != nil {
		return fmt.Errorf("disconnect sandbox %s: %w", id, err)
	}
	return nil
}

func (w *worker) stopSandbox(ctx context.Context, id string) error {
	if err := w.disconnect(ctx, id); err != nil {
		return err
	}
	return w.k.cfg.Runtime.StopSandbox(ctx, id)
}

func (w *worker) removeSandbox(ctx context.Context, id string) error {
	if s, ok := w.k.cfg.Runtime.Sandbox(id); ok {
		w.retire(s)
	}
	if err := w.disconnect(ctx, id); err != nil {
		return err
	}
	if err := w.k.cfg.Runtime.RemoveSandbox(ctx, id); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", id, err)
	}
	w.mu.Lock()
	if w.sandbox == id {
		w.sandbox = ""
	}
	w.mu.Unlock()
	return nil
}

// retire remembers how the containers of a sandbox that goes have ended.
func (w *worker) retire(s container.Sandbox) {
	w.remember(s, func(a *plan.Attempt) {
		if a.State == plan.Running {
			a.State, a.ExitCode, a.FinishedAt = plan.Exited, 137, w.k.cfg.Now()
		}
	})
}

// remember keeps the last two attempts of each container, since the runtime is about to forget them. mark says of each why it is over.
func (w *worker) remember(s container.Sandbox, mark func(*plan.Attempt)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	have := plan.Have{Containers: map[string][]plan.Attempt{}, Probes: map[string]plan.Probe{}}
	w.attempts(&have, s)
	for name, list := range have.Containers {
		for i := range list {
			list[i].Current = false
			mark(&list[i])
		}
		past := mergePast(list, w.past[name])
		w.past[name] = past[:min(len(past), 2)]
	}
}

func (w *worker) setUpVolumes(ctx context.Context, pod *corev1.Pod) error {
	w.mu.Lock()
	w.stale = false // a change from now on makes it stale again
	first := w.volumes == nil
	w.mu.Unlock()
	begun := time.Now()
	m, err := w.k.volumes.SetUp(ctx, volume.Input{Pod: w.podWithAddresses(pod), Allocatable: w.k.node.allocatable()})
	if first {
		w.k.countMounts(pod, begun, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.stale = true
		return err
	}
	w.volumes, w.torn = m, false
	return nil
}

// podWithAddresses is the pod with what is known of its addresses, for the downward API.
func (w *worker) podWithAddresses(pod *corev1.Pod) *corev1.Pod {
	w.mu.Lock()
	ips := w.ips
	w.mu.Unlock()
	p := *pod
	p.Status.HostIP, p.Status.HostIPs, p.Status.PodIP, p.Status.PodIPs = "", nil, "", nil
	for _, ip := range w.k.cfg.NodeIPs() {
		p.Status.HostIPs = append(p.Status.HostIPs, corev1.HostIP{IP: ip.String()})
	}
	if pod.Spec.HostNetwork {
		ips = w.k.cfg.NodeIPs()
	}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip.String()})
	}
	if len(p.Status.HostIPs) > 0 {
		p.Status.HostIP = p.Status.HostIPs[0].IP
	}
	if len(p.Status.PodIPs) > 0 {
		p.Status.PodIP = p.Status.PodIPs[0].IP
	}
	return &p
}

// tearDown removes the volumes; the checkpoint and the messages of an ended pod stay until it is deleted.
func (w *worker) tearDown(pod *corev1.Pod) error {
	if err := w.k.volumes.TearDown(w.uid); err != nil {
		return err
	}
	w.mu.Lock()
	w.volumes, w.torn = nil, true
	w.mu.Unlock()
	w.k.balance()
	return nil
}

// delete removes the last of the pod: its object, directories and logs.
func (w *worker) delete(ctx context.Context, pod *corev1.Pod) error {
	left, err := w.deleteObject(ctx, pod)
	if err != nil {
		return err
	}
	w.k.objects.Want(w.uid, nil)
	w.k.objects.ForgetTokens(w.uid)
	err = errors.Join(removeIn(w.k.cfg.Paths.Pods(), string(w.uid)), w.removeLogs())
	if err != nil {
		w.k.cfg.Log.Warn("cannot remove the files of a pod", "pod", w.name(), "err", err)
	}
	w.k.forget(w, left)
	w.mu.Lock()
	w.gone = true
	w.mu.Unlock()
	return nil
}

func logPath(dir, name string, attempt int) string {
	return filepath.Join(dir, name, strconv.Itoa(attempt)+".log")
}
