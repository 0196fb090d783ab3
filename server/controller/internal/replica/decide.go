package replica

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func (p Plan) String() string {
	var b strings.Builder
	show := func(verb string, pods []*corev1.Pod) {
		for _, pod := range pods {
			fmt.Fprintf(&b, "%s %s\n", verb, pod.Name)
		}
	}
	show("adopt", p.Adopt)
	show("release", p.Release)
	if p.Create > 0 {
		fmt.Fprintf(&b, "create %d\n", p.Create)
	}
	show("delete", p.Delete)
	if p.After > 0 {
		fmt.Fprintf(&b, "again after %s\n", p.After)
	}
	return b.String()
}

// Decide says what to do. pods are all pods that the set controls and all pods without a controller in its namespace; related
// counts, for each node, the active pods of sibling sets of the same owner (a Deployment's), to thin out doubled-up nodes first.
func Decide(set Set, pods []*corev1.Pod, related map[string]int, now time.Time) Plan {
	var p Plan
	var active []*corev1.Pod
	deleting := set.Object.GetDeletionTimestamp() != nil
	for _, pod := range pods {
		matches := set.Selector.Matches(labels.Set(pod.Labels))
		switch {
		case Owned(pod, set.Object) && !matches:
			if !deleting {
				p.Release = append(p.Release, pod)
			}
			continue
		case metav1.GetControllerOf(pod) == nil:
			if !matches || deleting || pod.DeletionTimestamp != nil {
				continue
			}
			if IsActive(pod) {
				p.Adopt = append(p.Adopt, pod)
			}
		case !Owned(pod, set.Object):
			continue
		}
		if IsActive(pod) {
			active = append(active, pod)
		}
		if wait := AvailableIn(pod, set.MinReadySeconds, now); wait > 0 && (p.After == 0 || wait < p.After) {
			p.After = wait
		}
	}
	if deleting {
		return p
	}
	if diff := len(active) - set.Replicas; diff > 0 {
		rank(active, related, now)
		p.Delete = active[:diff]
	} else {
		p.Create = -diff
	}
	return p
}

// Rank sorts the pods that should be deleted first to the front.
func Rank(pods []*corev1.Pod, now time.Time) { rank(pods, nil, now) }

// rank sorts the pods that should be deleted first to the front, by upstream's rules.
func rank(pods []*corev1.Pod, related map[string]int, now time.Time) {
	phase := map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		sinceA, readyA := ReadySince(a)
		sinceB, readyB := ReadySince(b)
		return cmp.Or(
			compareBool(a.Spec.NodeName != "", b.Spec.NodeName != ""),
			cmp.Compare(phase[a.Status.Phase], phase[b.Status.Phase]),
			compareBool(readyA, readyB),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			cmp.Compare(related[b.Spec.NodeName], related[a.Spec.NodeName]),
			compareReadiness(a, b, sinceA, sinceB, readyA && readyB, now),
			cmp.Compare(restarts(b), restarts(a)),
			compareAge(a, b, a.CreationTimestamp.Time, b.CreationTimestamp.Time, now),
		)
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case !a:
		return -1
	}
	return 1
}

// compareReadiness puts the pod first that became ready later, if both are ready.
func compareReadiness(a, b *corev1.Pod, sinceA, sinceB time.Time, both bool, now time.Time) int {
	if !both {
		return 0
	}
	return compareAge(a, b, sinceA, sinceB, now)
}

// compareAge puts the younger first; no time at all counts as youngest. Ages of about the same power of two are the same, and
// then the uid decides, so that pods which started together do not always go in the order in which they came (KEP-2185).
func compareAge(a, b *corev1.Pod, timeA, timeB, now time.Time) int {
	switch {
	case timeA.Equal(timeB):
		return 0
	case timeA.IsZero():
		return -1
	case timeB.IsZero():
		return 1
	}
	return cmp.Or(cmp.Compare(magnitude(now.Sub(timeA)), magnitude(now.Sub(timeB))), cmp.Compare(a.UID, b.UID))
}

func magnitude(age time.Duration) int {
	if age <= 0 {
		return -1
	}
	return bits.Len64(uint64(age))
}

func deletionCost(pod *corev1.Pod) int32 {
	n, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

func restarts(pod *corev1.Pod) (n int32) {
	for _, s := range pod.Status.ContainerStatuses {
		n = max(n, s.RestartCount)
	}
	return n
}

// Observe counts the set's pods for its status.
func Observe(set Set, pods []*corev1.Pod, now time.Time) Status {
	var s Status
	template := labels.Set(set.Template.Labels).AsSelectorPreValidated()
	for _, pod := range pods {
		if !Owned(pod, set.Object) || !set.Selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		if pod.DeletionTimestamp != nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			s.Terminating++
		}
		if !IsActive(pod) {
			continue
		}
		s.Replicas++
		if template.Matches(labels.Set(pod.Labels)) {
			s.FullyLabeled++
		}
		switch wait := AvailableIn(pod, set.MinReadySeconds, now); {
		case wait == 0:
			s.Ready++
			s.Available++
		case wait > 0:
			s.Ready++
		}
	}
	return s
}
