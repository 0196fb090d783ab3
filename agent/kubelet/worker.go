package kubelet

import (
	"context"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/agent/kubelet/objects"
	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/status"
	"codeberg.org/skiff/skiff/agent/kubelet/volume"
)

// worker serves one pod: its goroutine observes, decides, begins tasks and reports, then sleeps until it is woken.
type worker struct {
	k      *Kubelet
	uid    types.UID
	title  string // namespace/name
	static bool   // from a file; the API has a mirror of it
	wakeup chan struct{}
	wg     sync.WaitGroup // tasks

	mu      sync.Mutex
	pod     *corev1.Pod // newest wanted, with the newest known status
	removed bool
	verdict *plan.Verdict
	start   time.Time // accepted at
	first   time.Time // first seen by this process

	sandbox     string // id of the newest
	lastSandbox int    // its attempt
	connected   bool
	ips         []netip.Addr
	past        map[string][]plan.Attempt // attempts that the runtime has forgotten
	details     map[string]status.Detail
	messages    map[string]message // how containers ended, by id
	hooked      map[string]bool    // containers whose postStart hook is behind
	hookFailed  map[string]bool    // containers whose postStart hook failed
	endings     map[string]*plan.Ending
	ending      time.Time // when the pod was first seen to end

	tasks   map[string]*task
	images  map[string]usable // by container name
	volumes *volume.Mounted
	stale   bool // volumes have to be set up again
	torn    bool

	granted *grant            // resources that the node has given the pod
	weight  weight            // of the pod among the burstable ones
	pending refusal           // why it has not given what the pod asks for
	actual  map[string]actual // what running containers were given, by id

	timing timing

	report reporter
	gone   bool
	ended  chan struct{} // closed when the worker has returned
	halted chan struct{} // closed when the pod has ended, and nothing of it runs
}

// usable is an image that a container may use for its next start.
type usable struct{ ref, id string }

// message is how a container ended, as it said itself.
type message struct{ text string }

func newWorker(k *Kubelet, pod *corev1.Pod, static bool) *worker {
	w := &worker{k: k, uid: pod.UID, title: pod.Namespace + "/" + pod.Name, static: static, wakeup: make(chan struct{}, 1), pod: pod, first: k.cfg.Now(), lastSandbox: -1,
		past: map[string][]plan.Attempt{}, details: map[string]status.Detail{}, messages: map[string]message{}, hooked: map[string]bool{},
		hookFailed: map[string]bool{}, endings: map[string]*plan.Ending{}, tasks: map[string]*task{}, images: map[string]usable{}, actual: map[string]actual{},
		halted: make(chan struct{})}
	if !static && pod.Status.StartTime != nil {
		w.start = pod.Status.StartTime.Time
	} else {
		w.start = w.first
	}
	return w
}

func (w *worker) wakeUp() {
	select {
	case w.wakeup <- struct{}{}:
	default:
	}
}

// update takes a newer pod.
func (w *worker) update(pod *corev1.Pod) {
	w.mu.Lock()
	old := w.pod
	if !w.static && newer(old.ResourceVersion, pod.ResourceVersion) {
		pod = mergeStatus(pod, old)
	}
	w.pod = pod
	if old.Generation != pod.Generation || !sameMap(old.Labels, pod.Labels) || !sameMap(old.Annotations, pod.Annotations) {
		w.stale = w.volumes != nil && refersToSelf(pod)
		w.forgetFailures()
		w.k.objects.Want(w.uid, objects.References(pod))
	}
	w.mu.Unlock()
	w.wakeUp()
}

// noteEnded remembers when the pod began to end.
func (w *worker) noteEnded(pod *corev1.Pod, p plan.Plan, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !p.Ended || !w.ending.IsZero() {
		return
	}
	w.ending = now
	if v := p.Verdict; v != nil && v.Reason == plan.DeadlineExceeded && pod.Status.Phase != corev1.PodFailed {
		w.k.events.pod(pod, corev1.EventTypeNormal, v.Reason, "%s", v.Message)
	}
}

// remove says that nobody wants the pod any more. last is its object as it was at the end, if that is known: it may give less time.
func (w *worker) remove(last *corev1.Pod) {
	w.mu.Lock()
	w.removed = true
	if last != nil && last.DeletionGracePeriodSeconds != nil {
		pod := *w.pod
		pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = last.DeletionTimestamp, last.DeletionGracePeriodSeconds
		w.pod = &pod
	}
	w.mu.Unlock()
	w.wakeUp()
}

// end fails the pod.
func (w *worker) end(v plan.Verdict) {
	w.mu.Lock()
	if w.verdict == nil {
		w.verdict = &v
	}
	w.mu.Unlock()
	w.wakeUp()
}

// refreshVolumes is told that an object the pod refers to changed.
func (w *worker) refreshVolumes() {
	w.mu.Lock()
	w.stale = true
	w.forgetFailures()
	w.mu.Unlock()
	w.wakeUp()
}

// retry tries failed steps again now.
func (w *worker) retry() {
	w.mu.Lock()
	w.forgetFailures()
	w.mu.Unlock()
	w.wakeUp()
}

// forgetFailures makes failed steps be tried now, since what they failed for may have come. Pulls keep their back-off.
func (w *worker) forgetFailures() {
	for key, t := range w.tasks {
		if !t.running && !strings.HasPrefix(key, string(plan.Pull)) {
			t.failure = nil
		}
	}
}

// current pod, not to be changed.
func (w *worker) current() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// run is the worker's goroutine.
func (w *worker) run(ctx context.Context) {
	defer w.wg.Wait()
	w.k.counts.workerStart.Observe(w.k.cfg.Now().Sub(w.first).Seconds())
	w.adopt(ctx)
	w.k.objects.Want(w.uid, objects.References(w.current()))
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := w.k.cfg.Now()
		regrant := w.grant()
		pod, have := w.observe(ctx, now)
		w.watchProbes(pod, have)
		p := plan.Decide(pod, have, now)
		w.noteWaiting(pod, p)
		w.noteEnded(pod, p, now)
		w.apply(ctx, p, have.Tasks)
		w.noteHalt(p, have)
		wake := w.tell(ctx, pod, have, p, now)
		w.countLook(p, now)
		if !p.Wake.IsZero() && (wake.IsZero() || p.Wake.Before(wake)) {
			wake = p.Wake
		}
		wake = earliest(wake, regrant)
		if w.isGone() {
			w.stopProbes()
			w.forgetFigures()
			w.k.roomCame(w)
			w.k.balance()
			return
		}
		if !wake.IsZero() {
			timer.Reset(max(wake.Sub(now), time.Millisecond))
		} else {
			timer.Reset(24 * time.Hour)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wakeup:
		case <-timer.C:
			w.age()
		}
	}
}

// noteHalt tells those who wait for the pod's room that it is free. Only the worker's goroutine calls it.
func (w *worker) noteHalt(p plan.Plan, have plan.Have) {
	if !p.Ended || slices.ContainsFunc(slices.Collect(maps.Values(have.Containers)), func(list []plan.Attempt) bool { return len(list) > 0 && list[0].State == plan.Running }) {
		return
	}
	for _, s := range p.Steps {
		if s.Verb == plan.Kill || s.Verb == plan.StopSandbox || s.Verb == plan.RemoveSandbox {
			return
		}
	}
	select {
	case <-w.halted:
	default:
		close(w.halted)
	}
}

func (w *worker) isGone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone
}

// age marks the volumes stale when a token in them is due for renewal.
func (w *worker) age() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v := w.volumes; v != nil && !v.Refresh.IsZero() && !w.k.cfg.Now().Before(v.Refresh) {
		w.stale = true
	}
}

// dirs of the pod.
func (w *worker) dir() string { return filepath.Join(w.k.cfg.Paths.Pods(), string(w.uid)) }
func (w *worker) logDir() string {
	p := w.current()
	return filepath.Join(w.k.cfg.Paths.PodLogs(), p.Namespace+"_"+p.Name+"_"+string(w.uid))
}

// noteWaiting records the BackOff events, once for each time a container begins to wait.
func (w *worker) noteWaiting(pod *corev1.Pod, p plan.Plan) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, wait := range p.Waiting {
		if w.report.waiting[name] == wait {
			continue
		}
		switch wait.Reason {
		case "CrashLoopBackOff":
			w.k.events.container(pod, name, corev1.EventTypeWarning, "BackOff", "Back-off restarting failed container %s in pod %s_%s(%s)", name, pod.Name, pod.Namespace, pod.UID)
		case "ImagePullBackOff":
			msg, _, _ := strings.Cut(wait.Message, ": ErrImagePull")
			w.k.events.container(pod, name, corev1.EventTypeNormal, "BackOff", "%s", msg)
			w.k.events.container(pod, name, corev1.EventTypeWarning, "Failed", "Error: ImagePullBackOff")
		}
	}
	w.report.waiting = p.Waiting
}

// refersToSelf says whether volumes show the pod's own labels or annotations.
func refersToSelf(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].DownwardAPI != nil || pod.Spec.Volumes[i].Projected != nil {
			return true
		}
	}
	return false
}
