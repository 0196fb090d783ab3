// Package job runs pods to completion.
//
// Every pod of a Job carries the finalizer batch.kubernetes.io/job-tracking until it is counted, so that no end of a pod is
// missed or counted twice, whoever deletes it and whenever this process dies: first its uid is noted in
// status.uncountedTerminatedPods, then the finalizer is removed, then the uid becomes a number.
//
//	observe   the Job and the pods it controls
//	decide    pure: which pods to count, create and delete, and the status (decide.go, index.go)
//	apply     status, finalizers, deletions, creations
package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const ownerIndex = "metadata.ownerReferences.uid"

var gvk = batchv1.SchemeGroupVersion.WithKind("Job")

// New returns the controller; its keys are Jobs, "namespace/name".
func New(now func() time.Time) controller.Controller {
	l := &loop{now: now}
	return controller.Controller{
		Name:    "job-controller",
		Workers: 8,
		Inputs: []controller.Input{
			{Kind: &batchv1.Job{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				return []string{e.Object.GetNamespace() + "/" + e.Object.GetName()}
			}},
			{Kind: &corev1.Pod{}, Keys: podKeys},
		},
		Reconcile: l.reconcile,
	}
}

func podKeys(s client.Snapshot, e *store.Event) (keys []string) {
	for _, obj := range []api.Object{e.Object, e.Old} {
		if obj == nil {
			continue
		}
		if ref := metav1.GetControllerOf(obj); ref != nil && ref.Kind == gvk.Kind {
			keys = append(keys, obj.GetNamespace()+"/"+ref.Name)
		}
	}
	if len(keys) > 0 || e.Type == store.Deleted {
		return keys
	}
	for job := range client.List[*batchv1.Job](s, e.Object.GetNamespace()) {
		if selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector); err == nil && selector.Matches(labels.Set(e.Object.GetLabels())) {
			keys = append(keys, job.Namespace+"/"+job.Name)
		}
	}
	return keys
}

type loop struct{ now func() time.Time }

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	// Counting takes up to three steps, each of which changes what the next one sees.
	for range 4 {
		snap := c.Snapshot()
		job, ok := client.Get[*batchv1.Job](snap, namespace, name)
		if !ok {
			return controller.Result{}, letGo(ctx, c, snap, namespace, name)
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

// letGo removes the tracking finalizer from the pods of a Job that has gone: nobody will count them any more.
func letGo(ctx context.Context, c *client.Client, s client.Snapshot, namespace, name string) error {
	var errs []error
	for pod := range client.List[*corev1.Pod](s, namespace) {
		if ref := metav1.GetControllerOf(pod); ref != nil && ref.Kind == gvk.Kind && ref.Name == name && tracked(pod) {
			errs = append(errs, untrack(ctx, c, pod))
		}
	}
	return errors.Join(errs...)
}

// have is a Job with its pods.
type have struct {
	job            *batchv1.Job
	pods           []*corev1.Pod // controlled and selected
	adopt, release []*corev1.Pod
}

func observe(s client.Snapshot, job *batchv1.Job) (have, error) {
	h := have{job: job}
	selector, err := metav1.LabelSelectorAsSelector(job.Spec.Selector)
	if err != nil {
		return h, err
	}
	for pod := range client.ByIndex[*corev1.Pod](s, ownerIndex, string(job.UID)) {
		if selector.Matches(labels.Set(pod.Labels)) {
			h.pods = append(h.pods, pod)
		} else {
			h.release = append(h.release, pod)
		}
	}
	for pod := range client.List[*corev1.Pod](s, job.Namespace) {
		if metav1.GetControllerOf(pod) == nil && pod.DeletionTimestamp == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			h.adopt = append(h.adopt, pod)
		}
	}
	return h, nil
}

// apply writes the plan; changed tells that counting goes on.
func apply(ctx context.Context, c *client.Client, job *batchv1.Job, p plan) (changed bool, err error) {
	if err := claim(ctx, c, job, p); err != nil {
		return false, err
	}
	if !equality.Semantic.DeepEqual(job.Status, p.status) {
		_, err := c.Mutate(ctx, job, "status", func(obj api.Object) error {
			obj.(*batchv1.Job).Status = p.status
			return nil
		})
		if err != nil {
			return false, controller.IgnoreGone(err)
		}
		changed = true
		tell(c, job, p.status)
	}
	var errs []error
	for _, pod := range p.untrack {
		errs = append(errs, untrack(ctx, c, pod))
		changed = true
	}
	for _, pod := range p.remove {
		if err := c.DeleteNow(ctx, pod); err != nil {
			errs = append(errs, err)
			continue
		}
		c.Event(job, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
	}
	for _, pod := range p.create {
		out, err := c.Create(ctx, pod)
		switch {
		case err == nil:
			c.Event(job, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", out.GetName())
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return changed, nil
		default:
			c.Event(job, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
			return changed, errors.Join(append(errs, fmt.Errorf("create pod: %w", err))...)
		}
	}
	return changed, errors.Join(errs...)
}

func claim(ctx context.Context, c *client.Client, job *batchv1.Job, p plan) error {
	for _, pod := range p.adopt {
		_, err := c.Mutate(ctx, pod, "", func(obj api.Object) error {
			if metav1.GetControllerOf(obj) == nil {
				obj.SetOwnerReferences(append(obj.GetOwnerReferences(), *metav1.NewControllerRef(job, gvk)))
				obj.SetFinalizers(append(obj.GetFinalizers(), batchv1.JobTrackingFinalizer))
			}
			return nil
		})
		if controller.IgnoreGone(err) != nil {
			return fmt.Errorf("adopt pod %s: %w", pod.Name, err)
		}
	}
	for _, pod := range p.release {
		_, err := c.Mutate(ctx, pod, "", func(obj api.Object) error {
			obj.SetOwnerReferences(slices.DeleteFunc(obj.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.UID == job.UID }))
			obj.SetFinalizers(slices.DeleteFunc(obj.GetFinalizers(), func(f string) bool { return f == batchv1.JobTrackingFinalizer }))
			return nil
		})
		if controller.IgnoreGone(err) != nil {
			return fmt.Errorf("release pod %s: %w", pod.Name, err)
		}
	}
	return nil
}

func untrack(ctx context.Context, c *client.Client, pod *corev1.Pod) error {
	_, err := c.Mutate(ctx, pod, "", func(obj api.Object) error {
		obj.SetFinalizers(slices.DeleteFunc(obj.GetFinalizers(), func(f string) bool { return f == batchv1.JobTrackingFinalizer }))
		return nil
	})
	return controller.IgnoreGone(err)
}

// tell makes the events of a status that has just been written.
func tell(c *client.Client, before *batchv1.Job, now batchv1.JobStatus) {
	for _, cond := range now.Conditions {
		if cond.Status != corev1.ConditionTrue || isTrue(before.Status, cond.Type) {
			continue
		}
		switch cond.Type {
		case batchv1.JobComplete:
			c.Event(before, corev1.EventTypeNormal, "Completed", "Job completed")
		case batchv1.JobFailed:
			c.Event(before, corev1.EventTypeWarning, cond.Reason, "%s", cond.Message)
		case batchv1.JobSuspended:
			c.Event(before, corev1.EventTypeNormal, "Suspended", "Job suspended")
		}
	}
}
