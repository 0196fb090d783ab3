// Package job runs pods to completion.
//
// Every pod of a Job carries the finalizer batch.kubernetes.io/job-tracking until it is counted, so that no end of a pod is
// missed or counted twice, whoever deletes it and whenever this process dies: first its uid is noted in
// status.uncountedTerminatedPods, then the finalizer is removed, then the uid becomes a number. Successes of a Job with
// indexes are noted in status.completedIndexes instead, which is number and note in one.
//
//	observe   the Job and the pods it controls
//	decide    pure: which pods to count (count.go), whether that ends the Job (decide.go, policy.go), which pods to create
//	          and delete (run.go, index.go), and the status
//	apply     status, finalizers, deletions, creations (apply.go)
//
// Pods that still carry the finalizer when their Job is gone are let go (keys that begin with "orphan|").
package job

import (
	"context"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	ownerIndex = "metadata.ownerReferences.uid"
	orphan     = "orphan|"
)

var gvk = batchv1.SchemeGroupVersion.WithKind("Job")

// New returns the controller; its keys are Jobs, "namespace/name", and pods without a Job, "orphan|namespace/name".
func New(now func() time.Time) controller.Controller {
	l := &loop{now: now}
	return controller.Controller{
		Name:    "job-controller",
		Workers: 8,
		Inputs: []controller.Input{
			{Kind: &batchv1.Job{}, Keys: jobKeys},
			{Kind: &corev1.Pod{}, Keys: podKeys},
		},
		Reconcile: l.reconcile,
	}
}

func jobKeys(s client.Snapshot, e *store.Event) (keys []string) {
	if e.Type != store.Deleted {
		return []string{keyOf(e.Object)}
	}
	for pod := range client.ByIndex[*corev1.Pod](s, ownerIndex, string(e.Object.GetUID())) {
		keys = append(keys, orphan+keyOf(pod))
	}
	return keys
}

func podKeys(s client.Snapshot, e *store.Event) (keys []string) {
	pod := e.Object.(*corev1.Pod)
	for _, obj := range []api.Object{e.Object, e.Old} {
		if obj == nil {
			continue
		}
		if ref := metav1.GetControllerOf(obj); ref != nil && ref.Kind == gvk.Kind {
			keys = append(keys, obj.GetNamespace()+"/"+ref.Name)
		}
	}
	if e.Type == store.Deleted {
		return keys
	}
	if tracked(pod) && jobOf(s, pod) == nil {
		keys = append(keys, orphan+keyOf(pod))
	}
	if metav1.GetControllerOf(pod) == nil {
		for job := range client.List[*batchv1.Job](s, pod.Namespace) {
			if selects(job, pod) {
				keys = append(keys, keyOf(job))
			}
		}
	}
	return keys
}

func keyOf(obj api.Object) string { return obj.GetNamespace() + "/" + obj.GetName() }

func selects(job *batchv1.Job, pod *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels))
}

// jobOf is the Job that controls the pod, nil if it is gone or there was none.
func jobOf(s client.Snapshot, pod *corev1.Pod) *batchv1.Job {
	ref := metav1.GetControllerOf(pod)
	if ref == nil || ref.Kind != gvk.Kind {
		return nil
	}
	job, ok := client.Get[*batchv1.Job](s, pod.Namespace, ref.Name)
	if !ok || job.UID != ref.UID {
		return nil
	}
	return job
}

type loop struct{ now func() time.Time }

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	name, isOrphan := strings.CutPrefix(key, orphan)
	namespace, name, _ := strings.Cut(name, "/")
	if isOrphan {
		return controller.Result{}, letGo(ctx, c, namespace, name)
	}
	// Counting takes up to three steps, each of which changes what the next one sees.
	for range 4 {
		snap := c.Snapshot()
		job, ok := client.Get[*batchv1.Job](snap, namespace, name)
		if !ok || job.Spec.ManagedBy != nil && *job.Spec.ManagedBy != batchv1.JobControllerName {
			return controller.Result{}, nil
		}
		h, err := observe(snap, job)
		if err != nil {
			return controller.Result{}, fmt.Errorf("job %s: %w", key, err)
		}
		p := decide(h, metav1.NewTime(l.now()))
		changed, err := apply(ctx, c, job, p)
		if err != nil {
			return controller.Result{}, fmt.Errorf("job %s: %w", key, err)
		}
		if !changed {
			return controller.Result{After: p.after}, nil
		}
	}
	return controller.Result{After: time.Millisecond}, nil
}

// letGo removes the finalizer of a pod that no Job will count any more.
func letGo(ctx context.Context, c *client.Client, namespace, name string) error {
	snap := c.Snapshot()
	pod, ok := client.Get[*corev1.Pod](snap, namespace, name)
	if !ok || !tracked(pod) || jobOf(snap, pod) != nil {
		return nil
	}
	if metav1.GetControllerOf(pod) == nil && pod.DeletionTimestamp == nil {
		for job := range client.List[*batchv1.Job](snap, namespace) {
			if selects(job, pod) && job.DeletionTimestamp == nil && !finished(job.Status) {
				return nil // it is about to be adopted
			}
		}
	}
	return untrack(ctx, c, pod)
}

func observe(s client.Snapshot, job *batchv1.Job) (have, error) {
	h := have{job: job}
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return h, err
	}
	for pod := range client.ByIndex[*corev1.Pod](s, ownerIndex, string(job.UID)) {
		switch ref := metav1.GetControllerOf(pod); {
		case ref == nil || ref.UID != job.UID:
		case selector.Matches(labels.Set(pod.Labels)):
			h.pods = append(h.pods, pod)
		default:
			h.release = append(h.release, pod)
		}
	}
	for pod := range client.List[*corev1.Pod](s, job.Namespace) {
		if metav1.GetControllerOf(pod) == nil && pod.DeletionTimestamp == nil && selects(job, pod) {
			h.adopt = append(h.adopt, pod)
		}
	}
	return h, nil
}
