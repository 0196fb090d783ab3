package kubelet

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/status"
)

// reporter is what the worker knows of its reports; guarded by worker.mu.
type reporter struct {
	waiting map[string]plan.Waiting // of the last plan, so that an event is recorded once
	// sent was written last, and result is what the server made of it.
	sent, result *corev1.PodStatus
	busy         bool
	done         bool // what is true is known to the server
	tries        int
	retry        time.Time
	saved        string // what the checkpoint says, in short
	generation   int64  // of the spec seen last, and when it came
	changed      time.Time
	now          corev1.PodStatus
}

// hold is how long a new pod's first status waits for a better one: most pods run by then, and one write is saved.
const hold = 60 * time.Millisecond

// specHold is how long the status waits after a change of a running pod's spec: its author may be writing the status, too, and a container
// that restarts for it is often back by then.
const specHold = 100 * time.Millisecond

// tell reports the status if it changed. It returns when to be woken for it; zero: when something happens.
func (w *worker) tell(ctx context.Context, pod *corev1.Pod, have plan.Have, p plan.Plan, now time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	base := pod
	if w.static {
		copied := *pod
		copied.Status = w.report.now
		base = &copied
	}
	st := status.Compute(status.Input{Pod: base, Have: have, Plan: p, PodIPs: texts(w.ips), HostIPs: texts(w.k.cfg.NodeIPs()), Details: w.details, Resize: w.resizeLocked(pod, have), Now: now})
	w.report.now = st
	w.noteRunning(&st, now)
	wake := time.Time{}
	if v := w.volumes; v != nil {
		wake = v.Refresh
	}
	r := &w.report
	if r.generation != 0 && r.generation != pod.Generation {
		r.changed = now
	}
	r.generation = pod.Generation
	if w.k.cfg.Client == nil || w.removed {
		r.done = true
		return wake
	}
	known := &pod.Status
	if w.static {
		known = &corev1.PodStatus{}
		if m := w.k.mirror(pod); m != nil && isMirrorOf(m, pod) {
			known = &m.Status
		}
	}
	r.done = status.Equal(&st, known) || r.sent != nil && status.Equal(&st, r.sent) && status.Equal(known, r.result)
	if r.done || r.busy {
		return wake
	}
	at := r.retry
	if fresh(&st, p, pod) && at.Before(w.first.Add(hold)) {
		at = w.first.Add(hold)
	}
	if until := r.changed.Add(specHold); at.Before(until) && pod.DeletionTimestamp == nil {
		at = until
	}
	if now.Before(at) {
		return earliest(wake, at)
	}
	r.busy = true
	desired := w.pod // not as granted: the spec is its author's
	w.wg.Add(1)
	go func() { defer w.wg.Done(); w.send(ctx, desired, st) }()
	return wake
}

// fresh: nothing has happened to the pod yet but that it is being started.
func fresh(st *corev1.PodStatus, p plan.Plan, pod *corev1.Pod) bool {
	return st.Phase == corev1.PodPending && len(p.Waiting) == 0 && !p.Ended && pod.DeletionTimestamp == nil && len(st.InitContainerStatuses) == 0
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func texts(ips []netip.Addr) (out []string) {
	for _, ip := range ips {
		out = append(out, ip.String())
	}
	return out
}

func addrs(ips []corev1.PodIP) (out []netip.Addr) {
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// send writes the status and notes what came of it.
func (w *worker) send(ctx context.Context, pod *corev1.Pod, st corev1.PodStatus) {
	cctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var got *corev1.Pod
	var err error
	defer func(begun time.Time) { w.k.counts.statusSync.Observe(time.Since(begun).Seconds()) }(time.Now())
	if w.static {
		got, err = w.k.sendMirror(cctx, pod, st)
	} else {
		got, err = w.k.sendStatus(cctx, pod, st)
	}
	w.mu.Lock()
	r := &w.report
	r.busy = false
	switch {
	case errors.Is(err, errPodGone):
		w.removed = true
	case err != nil:
		r.tries++
		r.retry = w.k.cfg.Now().Add(min(time.Duration(1<<min(r.tries, 6))*250*time.Millisecond, 10*time.Second))
		if ctx.Err() == nil {
			w.k.cfg.Log.Warn("cannot report the status of a pod", "pod", w.name(), "tries", r.tries, "err", err)
		}
	default:
		r.tries, r.retry, r.sent, r.result = 0, time.Time{}, &st, &got.Status
		if !w.static && newer(got.ResourceVersion, w.pod.ResourceVersion) {
			w.pod = got
		}
	}
	w.mu.Unlock()
	if err == nil && !w.static {
		w.checkpoint(got)
	}
	w.wakeUp()
}

var errPodGone = errors.New("the pod is gone")

// sendStatus writes the status of an API pod, over whatever others wrote meanwhile.
func (k *Kubelet) sendStatus(ctx context.Context, pod *corev1.Pod, st corev1.PodStatus) (*corev1.Pod, error) {
	client := k.cfg.Client.CoreV1().Pods(pod.Namespace)
	base := pod
	for range 5 {
		p := *base
		p.Status = st
		got, err := client.UpdateStatus(ctx, &p, metav1.UpdateOptions{})
		switch {
		case err == nil:
			return got, nil
		case apierrors.IsNotFound(err):
			return nil, errPodGone
		case !apierrors.IsConflict(err):
			return nil, err
		}
		if base, err = client.Get(ctx, pod.Name, metav1.GetOptions{}); apierrors.IsNotFound(err) || err == nil && base.UID != pod.UID {
			return nil, errPodGone
		} else if err != nil {
			return nil, err
		}
		st.Conditions = withOthers(st.Conditions, base.Status.Conditions)
	}
	return nil, errors.New("the pod is changed by others all the time")
}

// owned conditions are the node's.
var owned = map[corev1.PodConditionType]bool{corev1.PodScheduled: true, corev1.PodReady: true, corev1.ContainersReady: true, corev1.PodInitialized: true,
	corev1.PodReadyToStartContainers: true, corev1.PodResizePending: true, corev1.PodResizeInProgress: true}

// withOthers takes the conditions of others from theirs.
func withOthers(ours, theirs []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	seen := map[corev1.PodConditionType]bool{}
	for _, c := range theirs {
		if !owned[c.Type] {
			out = append(out, c)
			seen[c.Type] = true
		}
	}
	for _, c := range ours {
		if !seen[c.Type] {
			out = append(out, c)
		}
	}
	return out
}

// deleteObject removes the pod's object. left says that it stays for its finalizers.
func (w *worker) deleteObject(ctx context.Context, pod *corev1.Pod) (left bool, err error) {
	if w.k.cfg.Client == nil {
		return false, nil
	}
	if w.static {
		return false, w.k.deleteMirror(ctx, pod)
	}
	w.mu.Lock()
	removed := w.removed
	w.mu.Unlock()
	if removed {
		return false, nil
	}
	zero := int64(0)
	err = w.k.cfg.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return false, nil
	}
	return len(pod.Finalizers) > 0, err
}

// newer compares resource versions, which are numbers that grow.
func newer(a, b string) bool {
	x, err1 := strconv.ParseUint(a, 10, 64)
	y, err2 := strconv.ParseUint(b, 10, 64)
	if err1 != nil || err2 != nil {
		return false
	}
	return x > y
}

// mergeStatus keeps what is known when an older event arrives late.
func mergeStatus(_, known *corev1.Pod) *corev1.Pod { return known }

func sameMap(a, b map[string]string) bool { return maps.Equal(a, b) }
