package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	resourcehelper "k8s.io/component-helpers/resource"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/agent/kubelet/status"
	"codeberg.org/skiff/skiff/runtime/container"
)

// In-place resize (KEP-1287). A pod's resources are known three times:
//
//	desired   what its spec asks for
//	granted   what this node has found room for; all that runs the pod sees these in its spec (grantedLocked)
//	actual    what a container runs with: a label of the container, changed together with its cgroup
//
// grant moves desired to granted when there is room; the plan moves granted to actual, by changing limits or by restarting. Granted
// outlives the daemon in the pod's status (allocatedResources); should it be an older one, it is simply granted again.

// grant is the resources of a pod: of each container by name, and of the pod as a whole.
type grant struct {
	generation int64 // of the spec that it was decided for
	containers map[string]corev1.ResourceRequirements
	pod        *corev1.ResourceRequirements
}

// refusal is why a resize waits: Deferred or Infeasible.
type refusal struct{ reason, message string }

// actual is a decoded label.
type actual struct {
	label     string
	resources *corev1.ResourceRequirements
}

// lookAgain is how long a resize that found no room waits when nothing tells that room came.
const lookAgain = time.Minute

// asked is what the pod's spec asks for.
func asked(pod *corev1.Pod) *grant {
	g := &grant{containers: map[string]corev1.ResourceRequirements{}, pod: pod.Spec.Resources}
	each(pod, func(c *corev1.Container, k kind) {
		if k != ephemeral {
			g.containers[c.Name] = c.Resources
		}
	})
	return g
}

// remembered is what the pod had been granted before the daemon started, as its status tells; what it does not tell is as asked.
func remembered(pod *corev1.Pod) *grant {
	g := asked(pod)
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			s := &list[i]
			if r, ok := g.containers[s.Name]; ok && s.Resources != nil {
				r.Requests, r.Limits = s.AllocatedResources, s.Resources.Limits
				g.containers[s.Name] = r
			}
		}
	}
	if r := pod.Status.Resources; r != nil && pod.Spec.Resources != nil {
		g.pod = &corev1.ResourceRequirements{Requests: pod.Status.AllocatedResources, Limits: r.Limits}
	}
	return g
}

func (g *grant) equal(other *grant) bool {
	return equality.Semantic.DeepEqual(g.pod, other.pod) && maps.EqualFunc(g.containers, other.containers, func(a, b corev1.ResourceRequirements) bool {
		return equality.Semantic.DeepEqual(a.Requests, b.Requests) && equality.Semantic.DeepEqual(a.Limits, b.Limits)
	})
}

// in returns the pod with the granted resources in its spec.
func (g *grant) in(pod *corev1.Pod) *corev1.Pod {
	if g == nil || g.equal(asked(pod)) {
		return pod
	}
	out := *pod
	out.Spec.Resources = g.pod
	put := func(list []corev1.Container) []corev1.Container {
		list = slices.Clone(list)
		for i := range list {
			if r, ok := g.containers[list[i].Name]; ok {
				list[i].Resources = r
			}
		}
		return list
	}
	out.Spec.InitContainers, out.Spec.Containers = put(pod.Spec.InitContainers), put(pod.Spec.Containers)
	return &out
}

// grantedLocked is the pod as this node runs it. Called with w.mu held.
func (w *worker) grantedLocked() *corev1.Pod { return w.granted.in(w.pod) }

// grant gives the pod what it asks for if there is room. It returns when to look again, zero for when something happens.
func (w *worker) grant() time.Time {
	w.mu.Lock()
	pod, have, before := w.pod, w.granted, w.pending
	over := w.verdict != nil || w.removed || pod.DeletionTimestamp != nil
	w.mu.Unlock()
	if have == nil {
		have = remembered(pod)
	} else if have.generation == pod.Generation && before.reason == "" {
		return time.Time{}
	}
	want := asked(pod)
	got, refused := &grant{containers: have.containers, pod: have.pod}, refusal{}
	if !want.equal(have) && !over {
		w.k.granting.Lock() // two pods must not be given the same room
		defer w.k.granting.Unlock()
		if refused = w.k.room(w, pod); refused.reason == "" {
			got = want
		}
	}
	got.generation = pod.Generation
	w.mu.Lock()
	w.granted, w.pending = got, refused
	if got == want {
		w.stale = w.stale || w.volumes != nil && refersToSelf(pod)
	}
	w.mu.Unlock()
	switch {
	case refused.reason != "" && refused != before:
		w.k.events.pod(pod, corev1.EventTypeWarning, "Resize"+refused.reason, "Pod resize %s: %s", refused.reason, refused.message)
	case got == want:
		w.k.events.pod(pod, corev1.EventTypeNormal, "ResizeStarted", "Pod resize started")
		w.k.roomCame(w)
	}
	if refused.reason == corev1.PodReasonDeferred {
		return w.k.cfg.Now().Add(lookAgain)
	}
	return time.Time{}
}

// room says why the node has none for the resources that a pod asks for.
func (k *Kubelet) room(w *worker, pod *corev1.Pod) refusal {
	if w.static {
		return refusal{corev1.PodReasonInfeasible, "In-place resize of static-pods is not supported"}
	}
	allocatable := k.node.allocatable()
	want := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		q, total := want[name], allocatable[name]
		if _, known := allocatable[name]; known && q.Cmp(total) > 0 {
			return refusal{corev1.PodReasonInfeasible, fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", name,
				amount(name, q), amount(name, total))}
		}
	}
	short, full := shortages(pod, k.active(w), allocatable)
	if full != nil {
		short = append(short, *full)
	}
	if len(short) > 0 {
		return refusal{corev1.PodReasonDeferred, short[0].String()}
	}
	return refusal{}
}

// active are the pods that take room beside that of a worker, as they were granted. One that nobody wants any more is not among them: the next
// version of a static pod needs the port of the version before.
func (k *Kubelet) active(but *worker) (pods []*corev1.Pod) {
	for _, w := range k.workers() {
		if w == but {
			continue
		}
		w.mu.Lock()
		if !w.removed && w.verdict == nil && w.report.now.Phase != corev1.PodFailed && w.report.now.Phase != corev1.PodSucceeded {
			pods = append(pods, w.grantedLocked())
		}
		w.mu.Unlock()
	}
	return pods
}

// roomCame wakes the pods whose resize waits for room.
func (k *Kubelet) roomCame(but *worker) {
	for _, w := range k.workers() {
		if w == but {
			continue
		}
		w.mu.Lock()
		waits := w.pending.reason == corev1.PodReasonDeferred
		w.mu.Unlock()
		if waits {
			w.wakeUp()
		}
	}
}

// encodeResources is the label that keeps what a container was given.
func encodeResources(c *corev1.Container) string {
	data, err := json.Marshal(corev1.ResourceRequirements{Requests: c.Resources.Requests, Limits: c.Resources.Limits})
	if err != nil {
		return ""
	}
	return string(data)
}

// actualOf is what a container runs with; nil for one that was started before there was a label. Called with w.mu held.
func (w *worker) actualOf(c container.Container) *corev1.ResourceRequirements {
	label := c.Spec.Labels[labelResources]
	if a, ok := w.actual[c.Spec.ID]; ok && a.label == label {
		return a.resources
	}
	a := actual{label: label}
	if r := new(corev1.ResourceRequirements); label != "" && json.Unmarshal([]byte(label), r) == nil {
		a.resources = r
	}
	w.actual[c.Spec.ID] = a
	return a.resources
}

// sameLimits compares what can change while a pod runs.
func sameLimits(a, b container.Resources) bool {
	a.HugepageLimit, b.HugepageLimit = nil, nil
	return reflect.DeepEqual(a, b)
}

// resize sets the limits of the pod and of its running containers: more for the pod first, less for it last, so that no container has
// more than its pod in between.
func (w *worker) resize(ctx context.Context, pod *corev1.Pod) error {
	w.mu.Lock()
	id := w.sandbox
	w.mu.Unlock()
	sb, ok := w.k.cfg.Runtime.Sandbox(id)
	if !ok || sb.State != container.SandboxReady {
		return errors.New("the sandbox does not run")
	}
	w.k.balance()
	target := podres.Pod(pod, w.k.cfg.PodPIDs)
	if wide := wider(sb.Spec.Resources, target); !sameLimits(wide, sb.Spec.Resources) {
		if err := w.k.cfg.Runtime.UpdateSandbox(ctx, id, wide); err != nil {
			return err
		}
	}
	changed := false
	for _, c := range sb.Containers {
		did, err := w.resizeContainer(ctx, pod, c)
		if err != nil {
			return err
		}
		changed = changed || did
	}
	if !sameLimits(wider(sb.Spec.Resources, target), target) {
		if err := w.lower(ctx, id, sb.Spec.Resources, target); err != nil {
			return err
		}
	}
	if changed {
		w.k.events.pod(pod, corev1.EventTypeNormal, "ResizeCompleted", "Pod resize completed")
	}
	return nil
}

func (w *worker) lower(ctx context.Context, id string, from, to container.Resources) error {
	if st, err := w.k.cfg.Runtime.SandboxStats(id); err == nil && below(to.MemoryLimit, from.MemoryLimit) && st.MemoryUsage > uint64(to.MemoryLimit) {
		return fmt.Errorf("attempting to set pod memory limit (%d) below current usage (%d)", to.MemoryLimit, st.MemoryUsage)
	}
	return w.k.cfg.Runtime.UpdateSandbox(ctx, id, to)
}

// resizeContainer changes the limits of one container, unless it has them or is to be restarted for them.
func (w *worker) resizeContainer(ctx context.Context, pod *corev1.Pod, have container.Container) (changed bool, err error) {
	c, k, err := findContainer(pod, have.Spec.Labels[labelContainer])
	if err != nil || k == ephemeral || have.State != container.Running {
		return false, nil
	}
	w.mu.Lock()
	a := plan.Attempt{Resources: w.actualOf(have)}
	w.mu.Unlock()
	if differs, restart := plan.Resized(c, &a); !differs || restart {
		return false, nil
	}
	r := podres.Container(pod, c, w.k.v2)
	if st, err := w.k.cfg.Runtime.ContainerStats(have.Spec.ID); err == nil && below(r.MemoryLimit, have.Spec.Resources.MemoryLimit) && st.MemoryUsage > uint64(r.MemoryLimit) {
		return false, fmt.Errorf("attempting to set memory limit of container %s (%d) below current usage (%d)", c.Name, r.MemoryLimit, st.MemoryUsage)
	}
	return true, w.k.cfg.Runtime.UpdateContainer(ctx, have.Spec.ID, r, map[string]string{labelResources: encodeResources(c)})
}

// below says whether a limit is lower than another; 0 is none.
func below(a, b int64) bool { return a != 0 && (b == 0 || a < b) }

// wider has the higher of each two limits; 0 is none, which is highest.
func wider(a, b container.Resources) container.Resources {
	out := b
	out.CPUShares = max(a.CPUShares, b.CPUShares)
	if below(b.MemoryLimit, a.MemoryLimit) {
		out.MemoryLimit = a.MemoryLimit
	}
	if below(b.CPUQuota, a.CPUQuota) {
		out.CPUQuota, out.CPUPeriod = a.CPUQuota, a.CPUPeriod
	}
	return out
}

// resizeLocked is what the status says of a resize. Called with w.mu held.
func (w *worker) resizeLocked(pod *corev1.Pod, have plan.Have) status.Resize {
	r := status.Resize{Pending: w.pending.reason, PendingMessage: w.pending.message}
	r.InProgress = have.Sandbox != nil && have.Sandbox.Ready && have.Sandbox.Resize
	each(pod, func(c *corev1.Container, k kind) {
		if list := have.Containers[c.Name]; k != ephemeral && len(list) > 0 && list[0].State == plan.Running {
			differs, _ := plan.Resized(c, &list[0])
			r.InProgress = r.InProgress || differs
		}
	})
	if t := have.Tasks[plan.Step{Verb: plan.Resize}.Key()]; r.InProgress && t.Failure != nil {
		r.Error = t.Failure.Message
	}
	return r
}
