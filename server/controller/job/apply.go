package job

import (
	"context"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/internal/claim"
	"codeberg.org/skiff/skiff/server/controller/internal/replica"
)

// apply writes the plan; changed tells that counting goes on.
func apply(ctx context.Context, c *client.Client, job *batchv1.Job, p plan) (changed bool, err error) {
	if err := claimPods(ctx, c, job, p); err != nil {
		return false, err
	}
	if !equality.Semantic.DeepEqual(job.Status, p.status) {
		_, err := client.Change(ctx, c, job, "status", func(next *batchv1.Job) { next.Status = p.status })
		if err != nil {
			return false, controller.IgnoreGone(err)
		}
		changed = true
		tell(c, job, p.status)
	}
	if len(p.untrack) > 0 {
		changed = true
		if err := replica.Parallel(len(p.untrack), func(i int) error { return untrack(ctx, c, p.untrack[i]) }); err != nil {
			return changed, err
		}
	}
	if err := replica.Parallel(len(p.remove), func(i int) error { return remove(ctx, c, job, p.remove[i]) }); err != nil {
		return changed, err
	}
	if err := replica.Parallel(len(p.drop), func(i int) error {
		if err := untrack(ctx, c, p.drop[i]); err != nil {
			return err
		}
		return remove(ctx, c, job, p.drop[i])
	}); err != nil {
		return changed, err
	}
	return changed, replica.SlowStart(len(p.create), func(i int) error { return create(ctx, c, job, p.create[i]) })
}

func remove(ctx context.Context, c *client.Client, job *batchv1.Job, pod *corev1.Pod) error {
	if err := c.DeleteNow(ctx, pod); err != nil {
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	c.Event(job, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
	return nil
}

func create(ctx context.Context, c *client.Client, job *batchv1.Job, pod *corev1.Pod) error {
	out, err := c.Create(ctx, pod)
	switch {
	case err == nil:
		c.Event(job, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", out.GetName())
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // the Job goes with its namespace
	}
	c.Event(job, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
	return fmt.Errorf("create pod: %w", err)
}

func claimPods(ctx context.Context, c *client.Client, job *batchv1.Job, p plan) error {
	if len(p.adopt) > 0 && !claim.Adopts(c, job) {
		p.adopt = nil
	}
	for _, pod := range p.adopt {
		_, err := client.Change(ctx, c, pod, "", func(next *corev1.Pod) {
			if metav1.GetControllerOf(next) == nil && next.DeletionTimestamp == nil {
				next.OwnerReferences = append(next.OwnerReferences, *metav1.NewControllerRef(job, gvk))
				if !tracked(next) {
					next.Finalizers = append(next.Finalizers, batchv1.JobTrackingFinalizer)
				}
			}
		})
		if controller.IgnoreGone(err) != nil {
			return fmt.Errorf("adopt pod %s: %w", pod.Name, err)
		}
	}
	for _, pod := range p.release {
		_, err := client.Change(ctx, c, pod, "", func(next *corev1.Pod) {
			next.OwnerReferences = slices.DeleteFunc(next.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == job.UID })
			dropFinalizer(next)
		})
		if controller.IgnoreGone(err) != nil {
			return fmt.Errorf("release pod %s: %w", pod.Name, err)
		}
	}
	return nil
}

func untrack(ctx context.Context, c *client.Client, pod *corev1.Pod) error {
	if _, err := client.Change(ctx, c, pod, "", dropFinalizer); controller.IgnoreGone(err) != nil {
		return fmt.Errorf("remove the finalizer of pod %s: %w", pod.Name, err)
	}
	return nil
}

func dropFinalizer(pod *corev1.Pod) {
	pod.Finalizers = slices.DeleteFunc(pod.Finalizers, func(f string) bool { return f == batchv1.JobTrackingFinalizer })
}

// tell makes the events of a status that has just been written.
func tell(c *client.Client, before *batchv1.Job, now batchv1.JobStatus) {
	for _, cond := range now.Conditions {
		if cond.Status != corev1.ConditionTrue || isTrue(before.Status, cond.Type) {
			if cond.Type == batchv1.JobSuspended && cond.Status == corev1.ConditionFalse && isTrue(before.Status, cond.Type) {
				c.Event(before, corev1.EventTypeNormal, "Resumed", "Job resumed")
			}
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
