package kubelet

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/agent/kubelet/probe"
	"codeberg.org/skiff/skiff/agent/kubelet/status"
	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/logs"
)

// Labels of sandboxes and containers: what a restarted daemon needs to know of them.
const (
	labelPodName      = "io.kubernetes.pod.name"
	labelPodNamespace = "io.kubernetes.pod.namespace"
	labelPodUID       = "io.kubernetes.pod.uid"
	labelContainer    = "io.kubernetes.container.name"
	labelImage        = "skiff.io/image"     // as the pod's spec says
	labelImageRef     = "skiff.io/image-ref" // name@digest
	labelBackOff      = "skiff.io/back-off"
	labelMessagePath  = "skiff.io/termination-message"
	labelFallback     = "skiff.io/fallback-to-logs"
	labelGrace        = "skiff.io/grace"
	labelResources    = "skiff.io/resources"
)

func sandboxID(uid types.UID, attempt int) string { return string(uid) + "-" + strconv.Itoa(attempt) }

// uidOfSandbox is the pod of a sandbox.
func uidOfSandbox(id string) types.UID {
	if i := strings.LastIndexByte(id, '-'); i > 0 {
		return types.UID(id[:i])
	}
	return types.UID(id)
}

// adopt finds the pod's sandbox from before the daemon started.
func (w *worker) adopt(ctx context.Context) {
	s, ok := w.find()
	if !ok || s.State != container.SandboxReady {
		return
	}
	if s.Spec.HostNetwork {
		w.connect(nil)
		return
	}
	ips, err := w.k.cfg.Network.Attach(ctx, s.Spec.ID, s.NetNS)
	if err != nil {
		// The network is not ready, or not yet: what the sandbox was given is known without. What it lacks it gets by a step of the plan.
		w.k.cfg.Log.Info("a sandbox from before cannot be connected to the network yet", "pod", w.name(), "err", err)
		if ips = w.k.cfg.Network.Attached(s.Spec.ID, s.NetNS); len(ips) == 0 {
			ips = addrs(w.current().Status.PodIPs)
		}
	}
	if len(ips) > 0 {
		w.setHostPorts(s.Spec.ID, ips)
		w.connect(ips)
	}
}

// connect notes that the newest sandbox is on the network.
func (w *worker) connect(ips []netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ips, w.connected = ips, true
}

// find the newest sandbox of the pod, and recall what the status knows of older ones.
func (w *worker) find() (s container.Sandbox, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	attempt := -1
	for _, s := range w.k.cfg.Runtime.List() {
		if uidOfSandbox(s.Spec.ID) != w.uid {
			continue
		}
		n, err := strconv.Atoi(s.Spec.ID[strings.LastIndexByte(s.Spec.ID, '-')+1:])
		if err == nil && n > attempt {
			attempt = n
			w.sandbox, w.lastSandbox = s.Spec.ID, n
		}
	}
	w.recall()
	if w.sandbox == "" {
		return s, false
	}
	s, ok = w.k.cfg.Runtime.Sandbox(w.sandbox)
	for _, c := range s.Containers {
		w.hooked[c.Spec.ID] = true
	}
	return s, ok
}

// recall takes from the pod's status what the runtime does not know: attempts of sandboxes that are gone.
func (w *worker) recall() {
	anew := slices.ContainsFunc(w.pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.AllContainersRestarting && c.Status == corev1.ConditionTrue
	})
	see := func(list []corev1.ContainerStatus) {
		for i := range list {
			s := &list[i]
			var past []plan.Attempt
			add := func(t *corev1.ContainerStateTerminated, attempt int) {
				past = append(past, plan.Attempt{ID: strings.TrimPrefix(t.ContainerID, status.Scheme), Attempt: attempt, State: plan.Exited,
					Image: s.Image, ImageID: s.ImageID, StartedAt: t.StartedAt.Time, FinishedAt: t.FinishedAt.Time,
					ExitCode: int(t.ExitCode), Reason: t.Reason, Message: t.Message})
			}
			n := int(s.RestartCount)
			switch {
			case s.State.Terminated != nil:
				add(s.State.Terminated, n)
				n--
			case s.State.Running != nil:
				// It ran when we last heard; if the runtime does not know it, it was lost with the machine.
				past = append(past, plan.Attempt{ID: strings.TrimPrefix(s.ContainerID, status.Scheme), Attempt: n, State: plan.Exited,
					Image: s.Image, ImageID: s.ImageID, StartedAt: s.State.Running.StartedAt.Time, FinishedAt: w.first, ExitCode: 255, Reason: "Unknown"})
				n--
			}
			if t := s.LastTerminationState.Terminated; t != nil && n >= 0 {
				add(t, n)
			}
			for i := range past {
				past[i].Reset = anew || s.State.Waiting != nil && s.State.Waiting.Reason == plan.ReasonRestartingAll
			}
			if len(past) > 0 {
				w.past[s.Name] = past
			}
		}
	}
	see(w.pod.Status.InitContainerStatuses)
	see(w.pod.Status.ContainerStatuses)
	see(w.pod.Status.EphemeralContainerStatuses)
}

// name of the pod, for logs.
func (w *worker) name() string { return w.title }

// observe returns the pod and what is true of it.
func (w *worker) observe(ctx context.Context, now time.Time) (*corev1.Pod, plan.Have) {
	var sb container.Sandbox
	w.mu.Lock()
	defer w.mu.Unlock()
	ok := false
	if w.sandbox != "" {
		sb, ok = w.k.cfg.Runtime.Sandbox(w.sandbox)
	}
	have := plan.Have{LastSandboxAttempt: w.lastSandbox, Containers: map[string][]plan.Attempt{}, Tasks: map[string]plan.Task{},
		Volumes: w.volumes != nil && !w.stale, Images: map[string]string{}, Probes: map[string]plan.Probe{},
		StartTime: w.start, Ending: w.ending, Verdict: w.verdict, Removed: w.removed, TornDown: w.torn}
	if ok {
		up := sb.State == container.SandboxReady
		have.Sandbox = &plan.Sandbox{ID: w.sandbox, Attempt: w.lastSandbox, Ready: up && w.connected, Unconnected: up && !w.connected}
		w.attempts(&have, sb)
	}
	for name, past := range w.past {
		have.Containers[name] = mergePast(have.Containers[name], past)
	}
	for key, t := range w.tasks {
		have.Tasks[key] = plan.Task{Running: t.running, Failure: t.failure}
	}
	for name, u := range w.images {
		if u.ref == imageOf(w.pod, name) {
			have.Images[name] = u.id
		}
	}
	have.Reported = w.report.done
	pod := w.grantedLocked()
	if have.Sandbox != nil {
		target := podres.Pod(pod, w.k.cfg.PodPIDs)
		have.Sandbox.Resize = !sameLimits(sb.Spec.Resources, target)
		have.Sandbox.Narrow = have.Sandbox.Resize && !sameLimits(sb.Spec.Resources, wider(sb.Spec.Resources, target))
	}
	return pod, have
}

// attempts of the sandbox's containers, newest first.
func (w *worker) attempts(have *plan.Have, sb container.Sandbox) {
	for _, c := range sb.Containers {
		name := c.Spec.Labels[labelContainer]
		if name == "" || c.State == container.Created {
			continue
		}
		have.Containers[name] = append(have.Containers[name], w.attempt(c))
		if c.State == container.Running {
			p, known := w.k.probes.Result(c.Spec.ID)
			if !known {
				p = plan.Probe{}
			}
			have.Probes[c.Spec.ID] = p
		} else if p, known := w.k.probes.Result(c.Spec.ID); known && p.Failed != "" {
			have.Probes[c.Spec.ID] = p
		}
		if _, ok := w.details[c.Spec.ID]; !ok {
			w.details[c.Spec.ID] = detail(c.Spec)
		}
	}
	for _, list := range have.Containers {
		slices.SortFunc(list, func(a, b plan.Attempt) int { return b.Attempt - a.Attempt })
	}
}

func detail(s container.ContainerSpec) status.Detail {
	d := status.Detail{ImageRef: s.Labels[labelImageRef], UID: int64(s.UID), GID: int64(s.GID)}
	d.Groups = append(d.Groups, d.GID)
	for _, g := range s.Groups {
		if int64(g) != d.GID {
			d.Groups = append(d.Groups, int64(g))
		}
	}
	slices.Sort(d.Groups)
	return d
}

func (w *worker) attempt(c container.Container) plan.Attempt {
	l := c.Spec.Labels
	a := plan.Attempt{ID: c.Spec.ID, Attempt: c.Spec.Attempt, Image: l[labelImage], ImageID: c.Spec.ImageID, Current: true,
		State: plan.Running, CreatedAt: c.CreatedAt, StartedAt: c.StartedAt}
	a.BackOff, _ = time.ParseDuration(l[labelBackOff])
	a.Resources, a.HookFailed = w.actualOf(c), w.hookFailed[c.Spec.ID]
	if e := w.endings[c.Spec.ID]; e != nil {
		a.Ending = new(*e)
	}
	if c.State != container.Exited {
		return a
	}
	a.State, a.FinishedAt = plan.Exited, c.FinishedAt
	a.ExitCode, a.Signal, a.OOMKilled, a.Message = c.ExitCode, c.Signal, c.OOMKilled, c.Message
	if c.StartedAt.IsZero() && c.Message != "" {
		a.Reason = "StartError"
		return a
	}
	m, ok := w.messages[c.Spec.ID]
	if !ok {
		m = message{terminationMessage(c)}
		w.messages[c.Spec.ID] = m
	}
	if m.text != "" {
		a.Message = m.text
	}
	return a
}

const (
	messageMax  = 4096
	fallbackMax = 2048
	fallbackLog = 80 // lines
)

// terminationMessage is what the container left in its file, or the end of its log if it failed and asked for that.
func terminationMessage(c container.Container) string {
	path := c.Spec.Labels[labelMessagePath]
	if path != "" {
		if data, err := readHead(path, messageMax); err == nil && len(data) > 0 {
			return string(data)
		}
	}
	if c.Spec.Labels[labelFallback] == "" || c.ExitCode == 0 || c.Spec.LogPath == "" {
		return ""
	}
	return logs.Last(c.Spec.LogPath, fallbackLog, fallbackMax)
}

// mergePast appends attempts that the runtime has forgotten; those it knows win.
func mergePast(now, past []plan.Attempt) []plan.Attempt {
	for _, p := range past {
		if !slices.ContainsFunc(now, func(a plan.Attempt) bool { return a.ID == p.ID || a.Attempt == p.Attempt }) {
			now = append(now, p)
		}
	}
	slices.SortStableFunc(now, func(a, b plan.Attempt) int { return b.Attempt - a.Attempt })
	return now
}

// watchProbes keeps the probes equal to what runs.
func (w *worker) watchProbes(pod *corev1.Pod, have plan.Have) {
	ending := pod.DeletionTimestamp != nil || have.Removed || have.Verdict != nil
	if ending {
		w.k.probes.Ending(w.uid)
	}
	each(pod, func(c *corev1.Container, kind kind) {
		if kind == ephemeral {
			return
		}
		for i, a := range have.Containers[c.Name] {
			w.mu.Lock()
			behind := w.hooked[a.ID]
			ip := w.probeIP(pod)
			w.mu.Unlock()
			switch {
			case a.State == plan.Exited:
				if i > 0 || have.Probes[a.ID].Failed == "" {
					w.k.probes.Forget(a.ID)
				}
			case behind && !ending:
				w.k.probes.Watch(probe.Target{Pod: pod, Container: c, ID: a.ID, PodIP: ip, StartedAt: a.StartedAt}, w.wasReady(pod, c.Name, a.ID))
				if r, ok := w.k.probes.Result(a.ID); ok {
					have.Probes[a.ID] = r
				}
			}
		}
	})
}

func (w *worker) probeIP(pod *corev1.Pod) string {
	if ips := w.k.cfg.NodeIPs(); pod.Spec.HostNetwork && len(ips) > 0 {
		return ips[0].String()
	}
	if len(w.ips) > 0 {
		return w.ips[0].String()
	}
	return ""
}

// wasReady: a container that the daemon adopts is as ready as it was.
func (w *worker) wasReady(pod *corev1.Pod, name, id string) bool {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return list[i].Ready && list[i].ContainerID == status.Scheme+id
			}
		}
	}
	return false
}

func (w *worker) stopProbes() {
	w.mu.Lock()
	ids := slices.Collect(maps.Keys(w.details))
	w.mu.Unlock()
	for _, id := range ids {
		w.k.probes.Forget(id)
	}
}

// kind of a container in its pod.
type kind int

const (
	initial kind = iota
	regular
	ephemeral
)

// each calls f with every container of the pod.
func each(pod *corev1.Pod, f func(c *corev1.Container, k kind)) {
	for i := range pod.Spec.InitContainers {
		f(&pod.Spec.InitContainers[i], initial)
	}
	for i := range pod.Spec.Containers {
		f(&pod.Spec.Containers[i], regular)
	}
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		f(&c, ephemeral)
	}
}

func findContainer(pod *corev1.Pod, name string) (found *corev1.Container, k kind, err error) {
	each(pod, func(c *corev1.Container, kk kind) {
		if c.Name == name {
			found, k = c, kk
		}
	})
	if found == nil {
		return nil, 0, fmt.Errorf("pod %s/%s has no container %q", pod.Namespace, pod.Name, name)
	}
	return found, k, nil
}

func imageOf(pod *corev1.Pod, name string) string {
	c, _, err := findContainer(pod, name)
	if err != nil {
		return ""
	}
	return c.Image
}
