// Package cronjob starts Jobs by the clock.
//
// A run's Job is named by its scheduled minute, so that a run which is due is started once, whenever this process dies: a Job of
// that name which exists already is the run. Only the newest of several missed runs is started.
package cronjob

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // hosts at the edge often have no zones of their own

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const ownerIndex = "metadata.ownerReferences.uid"

var gvk = batchv1.SchemeGroupVersion.WithKind("CronJob")

// New returns the controller; its keys are CronJobs, "namespace/name".
func New(now func() time.Time) controller.Controller {
	return controller.Controller{
		Name:    "cronjob-controller",
		Workers: 4,
		Inputs: []controller.Input{
			{Kind: &batchv1.CronJob{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				return []string{e.Object.GetNamespace() + "/" + e.Object.GetName()}
			}},
			{Kind: &batchv1.Job{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				if ref := metav1.GetControllerOf(e.Object); ref != nil && ref.Kind == gvk.Kind {
					return []string{e.Object.GetNamespace() + "/" + ref.Name}
				}
				return nil
			}},
		},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			return reconcile(ctx, c, key, now())
		},
	}
}

func reconcile(ctx context.Context, c *client.Client, key string, now time.Time) (controller.Result, error) {
	namespace, name, _ := strings.Cut(key, "/")
	snap := c.Snapshot()
	cron, ok := client.Get[*batchv1.CronJob](snap, namespace, name)
	if !ok {
		return controller.Result{}, nil
	}
	var jobs []*batchv1.Job
	for job := range client.ByIndex[*batchv1.Job](snap, ownerIndex, string(cron.UID)) {
		if metav1.IsControlledBy(job, cron) {
			jobs = append(jobs, job)
		}
	}
	p := decide(cron, jobs, now)
	if err := apply(ctx, c, cron, p); err != nil {
		return controller.Result{}, fmt.Errorf("cron job %s: %w", key, err)
	}
	return controller.Result{After: p.after}, nil
}

func apply(ctx context.Context, c *client.Client, cron *batchv1.CronJob, p plan) error {
	for _, n := range p.notes {
		c.Event(cron, n.kind, n.reason, "%s", n.message)
	}
	for _, job := range p.remove {
		if err := c.DeleteNow(ctx, job); err != nil {
			c.Event(cron, corev1.EventTypeWarning, "FailedDelete", "Deleted job: %v", err)
			return fmt.Errorf("delete job %s: %w", job.Name, err)
		}
		c.Event(cron, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted job %v", job.Name)
	}
	failed := create(ctx, c, cron, &p)
	if equality.Semantic.DeepEqual(cron.Status, p.status) {
		return failed
	}
	_, err := client.Change(ctx, c, cron, "status", func(next *batchv1.CronJob) { next.Status = p.status })
	return errors.Join(failed, controller.IgnoreGone(err))
}

// create starts the run; when that fails the status does not say that it was started.
func create(ctx context.Context, c *client.Client, cron *batchv1.CronJob, p *plan) error {
	if p.create == nil {
		return nil
	}
	out, err := c.Create(ctx, p.create)
	switch {
	case err == nil:
		job := out.(*batchv1.Job)
		p.status.Active = append(p.status.Active, refTo(job))
		c.Event(cron, corev1.EventTypeNormal, "SuccessfulCreate", "Created job %v", job.Name)
		return nil
	case apierrors.IsAlreadyExists(err):
		c.Event(cron, corev1.EventTypeWarning, "FailedCreate", "Job %s exists and is not of this cron job", p.create.Name)
		return nil // that run is lost; the next has another name
	}
	p.status.LastScheduleTime = cron.Status.LastScheduleTime
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	c.Event(cron, corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", err)
	return fmt.Errorf("create job %s: %w", p.create.Name, err)
}
