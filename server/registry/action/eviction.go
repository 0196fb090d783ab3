package action

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/registry"
)

const (
	reasonEviction = "EvictionByEvictionAPI"
	// causeDisruptionBudget marks 429s that a disruption budget is the cause of.
	causeDisruptionBudget = "DisruptionBudget"
	// maxDisrupted pods may be on their way out at once under one budget, so that its status stays bounded.
	maxDisrupted = 2000
)

// evict deletes a pod if its disruption budget allows it: POST of an Eviction on pods/eviction.
func evict(ctx context.Context, r *registry.Registry, req registry.Request, sent runtime.Object) (runtime.Object, error) {
	e, err := body[*policyv1.Eviction](sent)
	if err != nil {
		return nil, err
	}
	if e.Name != "" && e.Name != req.Name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if req, err = onPod(r, req); err != nil {
		return nil, err
	}
	opts := e.DeleteOptions
	if opts == nil {
		opts = &metav1.DeleteOptions{}
	}
	req.DryRun = req.DryRun || len(opts.DryRun) > 0
	found, err := r.Get(ctx, req, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod := found.(*corev1.Pod)
	if opts.Preconditions != nil && opts.Preconditions.UID != nil && *opts.Preconditions.UID != pod.UID {
		return nil, apierrors.NewConflict(corev1.Resource("pods"), pod.Name, fmt.Errorf(
			"the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated",
			*opts.Preconditions.UID, pod.UID))
	}
	if !ignoresBudget(pod) {
		if err := spend(ctx, r, req, pod); err != nil {
			return nil, err
		}
	}
	if err := remove(ctx, r, req, pod, opts); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: 201}, nil
}

// ignoresBudget: evicting what does not run, or is going anyway, disrupts nothing.
func ignoresBudget(pod *corev1.Pod) bool {
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed, corev1.PodPending:
		return true
	}
	return pod.DeletionTimestamp != nil
}

// spend takes one disruption from the budget that selects the pod.
func spend(ctx context.Context, r *registry.Registry, req registry.Request, pod *corev1.Pod) error {
	kind := r.Catalogue().ByObject(&policyv1.PodDisruptionBudget{})
	if kind == nil {
		return nil
	}
	var name string
	for obj := range r.Snapshot().List(kind, pod.Namespace, "") {
		pdb := obj.(*policyv1.PodDisruptionBudget)
		selector, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
		if err != nil || !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		if name != "" {
			return apierrors.NewInternalError(fmt.Errorf("this pod has more than one PodDisruptionBudget, which the eviction subresource does not support"))
		}
		name = pdb.Name
	}
	if name == "" {
		return nil
	}
	req.Kind, req.Name = kind, name
	_, _, err := r.Update(ctx, req, func(current runtime.Object) (runtime.Object, error) {
		return disrupt(current.(*policyv1.PodDisruptionBudget), pod, r.Now())
	}, registry.UpdateOptions{Internal: true, Retry: true})
	return err
}

// disrupt is the budget with one disruption less, or 429.
func disrupt(pdb *policyv1.PodDisruptionBudget, pod *corev1.Pod, now metav1.Time) (*policyv1.PodDisruptionBudget, error) {
	status := &pdb.Status
	if !running(pod) && unhealthyMayGo(pdb) {
		return pdb, nil
	}
	switch {
	case status.ObservedGeneration < pdb.Generation:
		return nil, tooMany(10, fmt.Sprintf("The disruption budget %s is still being processed by the server.", pdb.Name))
	case status.DisruptionsAllowed < 0:
		return nil, apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), pdb.Name, fmt.Errorf("pdb disruptions allowed is negative"))
	case len(status.DisruptedPods) > maxDisrupted:
		return nil, apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), pdb.Name,
			fmt.Errorf("DisruptedPods map too big - too many evictions not confirmed by PDB controller"))
	case status.DisruptionsAllowed == 0:
		return nil, tooMany(0, fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently",
			pdb.Name, status.DesiredHealthy, status.CurrentHealthy))
	}
	next := pdb.DeepCopy()
	next.Status.DisruptionsAllowed--
	if next.Status.DisruptedPods == nil {
		next.Status.DisruptedPods = map[string]metav1.Time{}
	}
	// The controller does not count the pod as healthy from now on, even before it sees it deleted.
	next.Status.DisruptedPods[pod.Name] = now
	return next, nil
}

// running says whether the pod counts as healthy.
func running(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// unhealthyMayGo: a pod that is not ready may be evicted when enough others are, or when the budget says so.
func unhealthyMayGo(pdb *policyv1.PodDisruptionBudget) bool {
	policy := pdb.Spec.UnhealthyPodEvictionPolicy
	if policy != nil && *policy == policyv1.AlwaysAllow {
		return true
	}
	return pdb.Status.ObservedGeneration >= pdb.Generation && pdb.Status.DesiredHealthy > 0 &&
		pdb.Status.CurrentHealthy >= pdb.Status.DesiredHealthy
}

func tooMany(retryAfter int, detail string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retryAfter)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: causeDisruptionBudget, Message: detail})
	return err
}

// remove says in the pod why it goes, and deletes that pod, not a successor of its name.
func remove(ctx context.Context, r *registry.Registry, req registry.Request, pod *corev1.Pod, opts *metav1.DeleteOptions) error {
	if !req.DryRun {
		_, _, err := r.Update(ctx, req, func(current runtime.Object) (runtime.Object, error) {
			next := current.DeepCopyObject().(*corev1.Pod)
			setCondition(next, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
				Reason: reasonEviction, Message: "Eviction API: evicting",
			}, r.Now())
			return next, nil
		}, registry.UpdateOptions{Internal: true, Retry: true, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
		if err != nil {
			return err
		}
	}
	opts = opts.DeepCopy()
	if opts.Preconditions == nil {
		opts.Preconditions = &metav1.Preconditions{}
	}
	opts.Preconditions.UID = ptr(pod.UID)
	_, _, err := r.Delete(ctx, req, opts)
	return err
}
