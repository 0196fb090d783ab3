// Package statefulset keeps the pods of a StatefulSet: each has a name with a number that stays, and claims that stay with the name.
//
//	observe   the StatefulSet, its pods, claims and history: from one snapshot
//	decide    pure: what to adopt and release, the revision of the template, which pods to make, mend and delete (decide.go, rolling.go)
//	apply     in that order; then the status of what there is now (status.go)
//
// OrderedReady is one step a time: the lowest number that is not available stops everything after it, and pods go from the highest
// number down. Parallel takes no such care, except for updates. Claims are made before their pod, and their owner references say
// whether they go with the set or with a pod that is scaled away (claims.go).
package statefulset

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/claim"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
	"codeberg.org/skiff/skiff/server/controller/internal/revision"
	"codeberg.org/skiff/skiff/server/store"
)

var gvk = appsv1.SchemeGroupVersion.WithKind("StatefulSet")

// New returns the controller; its keys are StatefulSets, "namespace/name".
func New(now func() time.Time) controller.Controller {
	l := &loop{now: now}
	return controller.Controller{
		Name:    "statefulset-controller",
		Workers: 8,
		Inputs: []controller.Input{
			{Kind: &appsv1.StatefulSet{}, Keys: replica.OwnKey},
			{Kind: &corev1.Pod{}, Keys: replica.PodKeys(gvk.Kind, selecting)},
			{Kind: &appsv1.ControllerRevision{}, Keys: revision.Keys(gvk.Kind)},
			{Kind: &corev1.PersistentVolumeClaim{}, Keys: claimKeys},
		},
		Reconcile: l.reconcile,
	}
}

// selecting are the StatefulSets that could adopt a pod.
func selecting(s client.Snapshot, pod *corev1.Pod) (keys []string) {
	for set := range client.List[*appsv1.StatefulSet](s, pod.Namespace) {
		selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) && member(set, pod) {
			keys = append(keys, set.Namespace+"/"+set.Name)
		}
	}
	return keys
}

// claimKeys: a claim that was to go has gone, so that the next of its name can be made; or somebody changed its owners.
func claimKeys(s client.Snapshot, e *store.Event) (keys []string) {
	if e.Type == store.Added {
		return nil
	}
	for set := range client.List[*appsv1.StatefulSet](s, e.Object.GetNamespace()) {
		for i := range set.Spec.VolumeClaimTemplates {
			ordinal, ok := strings.CutPrefix(e.Object.GetName(), set.Spec.VolumeClaimTemplates[i].Name+"-"+set.Name+"-")
			if _, err := strconv.ParseUint(ordinal, 10, 31); ok && err == nil {
				keys = append(keys, set.Namespace+"/"+set.Name)
				break
			}
		}
	}
	return keys
}

type loop struct{ now func() time.Time }

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	set, ok := client.Get[*appsv1.StatefulSet](snap, namespace, name)
	if !ok {
		return controller.Result{}, nil
	}
	h, err := observe(snap, set)
	if err != nil {
		return controller.Result{}, err
	}
	p, err := decide(h, l.now())
	if err != nil {
		return controller.Result{}, err
	}
	again, applyErr := apply(ctx, c, h, p)
	if again {
		return controller.Result{}, applyErr // the events of what was written bring us back
	}
	// What there is now.
	snap = c.Snapshot()
	now, ok := client.Get[*appsv1.StatefulSet](snap, namespace, name)
	if !ok || now.UID != set.UID {
		return controller.Result{}, applyErr
	}
	if h, err = observe(snap, now); err != nil {
		return controller.Result{}, err
	}
	if err := writeStatus(ctx, c, now, statusOf(h, p, set.Generation, l.now())); err != nil {
		return controller.Result{}, err
	}
	return controller.Result{After: p.after}, applyErr
}

// have is a StatefulSet with what it has.
type have struct {
	set       *appsv1.StatefulSet
	pods      claim.Claims[*corev1.Pod]
	revisions claim.Claims[*appsv1.ControllerRevision]
	// claims of the namespace by name.
	claims map[string]*corev1.PersistentVolumeClaim
}

func observe(s client.Snapshot, set *appsv1.StatefulSet) (have, error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return have{}, fmt.Errorf("stateful set %s/%s: %w", set.Namespace, set.Name, err)
	}
	h := have{
		set: set,
		pods: claim.Of(set, selector, client.List[*corev1.Pod](s, set.Namespace), func(pod *corev1.Pod) bool {
			return member(set, pod)
		}),
		revisions: claim.Of(set, selector, client.List[*appsv1.ControllerRevision](s, set.Namespace)),
		claims:    map[string]*corev1.PersistentVolumeClaim{},
	}
	if len(set.Spec.VolumeClaimTemplates) > 0 {
		for pvc := range client.List[*corev1.PersistentVolumeClaim](s, set.Namespace) {
			h.claims[pvc.Name] = pvc
		}
	}
	return h, nil
}
