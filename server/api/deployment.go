package api

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func deployment() *Kind {
	return &Kind{
		Group: "apps", Kind: "Deployment", Plural: "deployments", Singular: "deployment", ShortNames: []string{"deploy"},
		Categories: []string{"all"}, Namespaced: true,
		Versions: []Version{typed[appsv1.Deployment, appsv1.DeploymentList]("apps", "v1")},
		Prefix:   "/registry/deployments",
		Strategy: Strategy{
			Default:       do(defaultDeployment),
			PrepareCreate: created(func(d *appsv1.Deployment) { d.Status = appsv1.DeploymentStatus{} }),
			PrepareUpdate: doPair(func(d, old *appsv1.Deployment) {
				d.Status = old.Status
				// Annotations count as well: they are copied to the ReplicaSets.
				bump(d, old, !apiequality.Semantic.DeepEqual(d.Spec, old.Spec) || !apiequality.Semantic.DeepEqual(d.Annotations, old.Annotations))
			}),
			Validate:                 one(validateDeployment),
			ValidateUpdate:           pair(validateDeploymentUpdate),
			Warnings:                 pair(deploymentWarnings),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{
			status(func(to, from *appsv1.Deployment) { to.Status = from.Status }, validateDeploymentStatus),
			scale(func(d *appsv1.Deployment) (scaleView, error) {
				sel, err := selectorString(d.Spec.Selector)
				return scaleView{&d.Spec.Replicas, d.Status.Replicas, sel}, err
			}),
		},
		Columns: append(append([]Column{
			str("Ready", "pods that are ready, of how many", func(d *appsv1.Deployment) string {
				return fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, deref(d.Spec.Replicas))
			}),
			tally("Up-to-date", "pods of the newest template", func(d *appsv1.Deployment) int32 { return d.Status.UpdatedReplicas }),
			tally("Available", "pods that have been ready long enough", func(d *appsv1.Deployment) int32 { return d.Status.AvailableReplicas }),
			age(),
		}, containerColumns(func(d *appsv1.Deployment) *corev1.PodSpec { return &d.Spec.Template.Spec }, true)...),
			selectorColumn(func(d *appsv1.Deployment) *metav1.LabelSelector { return d.Spec.Selector })),
	}
}

func defaultDeployment(d *appsv1.Deployment) {
	unset(&d.Spec.Replicas, 1)
	blank(&d.Spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if d.Spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		unset(&d.Spec.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		unset(&d.Spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		unset(&d.Spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	unset(&d.Spec.RevisionHistoryLimit, 10)
	unset(&d.Spec.ProgressDeadlineSeconds, 600)
	defaultPodTemplate(&d.Spec.Template)
}
