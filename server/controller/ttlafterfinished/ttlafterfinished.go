// Package ttlafterfinished deletes Jobs when their spec.ttlSecondsAfterFinished have passed since they finished.
package ttlafterfinished

import (
	"context"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// New returns the controller; its keys are Jobs, "namespace/name".
func New(now func() time.Time) controller.Controller {
	return controller.Controller{
		Name: "ttl-after-finished-controller",
		Inputs: []controller.Input{{Kind: &batchv1.Job{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
			if _, ok := expiry(e.Object.(*batchv1.Job)); !ok || e.Type == store.Deleted {
				return nil
			}
			return []string{e.Object.GetNamespace() + "/" + e.Object.GetName()}
		}}},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			return reconcile(ctx, c, key, now())
		},
	}
}

func reconcile(ctx context.Context, c *client.Client, key string, now time.Time) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	job, ok := client.Get[*batchv1.Job](c.Snapshot(), namespace, name)
	if !ok || job.DeletionTimestamp != nil {
		return controller.Result{}, nil
	}
	at, ok := expiry(job)
	if !ok {
		return controller.Result{}, nil
	}
	if wait := at.Sub(now); wait > 0 {
		return controller.Result{After: wait}, nil
	}
	policy := metav1.DeletePropagationForeground
	err := c.Delete(ctx, job, metav1.DeleteOptions{PropagationPolicy: &policy,
		Preconditions: &metav1.Preconditions{UID: &job.UID, ResourceVersion: &job.ResourceVersion}})
	return controller.Result{}, controller.IgnoreGone(err)
}

// expiry is when a Job may go; ok is false while it runs, and when it may stay for ever.
func expiry(job *batchv1.Job) (at time.Time, ok bool) {
	if job.Spec.TTLSecondsAfterFinished == nil {
		return time.Time{}, false
	}
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Add(time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second), true
		}
	}
	return time.Time{}, false
}
