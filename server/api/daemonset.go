package api

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func daemonSet() *Kind {
	count := func(name, description string, f func(*appsv1.DaemonSetStatus) int32) Column {
		return num(name, description, func(d *appsv1.DaemonSet) int32 { return f(&d.Status) })
	}
	return &Kind{
		Group: "apps", Kind: "DaemonSet", Plural: "daemonsets", Singular: "daemonset", ShortNames: []string{"ds"},
		Categories: []string{"all"}, Namespaced: true,
		Versions: []Version{typed[appsv1.DaemonSet, appsv1.DaemonSetList]("apps", "v1")},
		Prefix:   "/registry/daemonsets",
		Strategy: Strategy{
			Default: do(defaultDaemonSet),
			PrepareCreate: created(func(d *appsv1.DaemonSet) {
				d.Status = appsv1.DaemonSetStatus{}
				setTemplateGeneration(d, 1)
			}),
			PrepareUpdate: updated(func(d, old *appsv1.DaemonSet) {
				d.Status = old.Status
				g, _ := strconv.ParseInt(old.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
				if !apiequality.Semantic.DeepEqual(d.Spec.Template, old.Spec.Template) {
					g++
				}
				setTemplateGeneration(d, g)
			}, func(d *appsv1.DaemonSet) any { return d.Spec }),
			Validate:                 one(validateDaemonSet),
			ValidateUpdate:           pair(validateDaemonSetUpdate),
			Warnings:                 pair(daemonSetWarnings),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{status(func(to, from *appsv1.DaemonSet) { to.Status = from.Status }, nil)},
		Columns: append(append([]Column{
			count("Desired", "nodes that should run a pod", func(s *appsv1.DaemonSetStatus) int32 { return s.DesiredNumberScheduled }),
			count("Current", "nodes that run a pod", func(s *appsv1.DaemonSetStatus) int32 { return s.CurrentNumberScheduled }),
			count("Ready", "pods that are ready", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberReady }),
			count("Up-to-date", "pods of the newest template", func(s *appsv1.DaemonSetStatus) int32 { return s.UpdatedNumberScheduled }),
			count("Available", "pods that have been ready long enough", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberAvailable }),
			str("Node Selector", "labels of the nodes it runs on", func(d *appsv1.DaemonSet) string {
				return formatLabels(d.Spec.Template.Spec.NodeSelector)
			}),
			age(),
		}, containerColumns(func(d *appsv1.DaemonSet) *corev1.PodSpec { return &d.Spec.Template.Spec }, true)...),
			selectorColumn(func(d *appsv1.DaemonSet) *metav1.LabelSelector { return d.Spec.Selector })),
	}
}

// setTemplateGeneration writes the annotation in which apps/v1 keeps what older versions had in spec.templateGeneration.
func setTemplateGeneration(d *appsv1.DaemonSet, g int64) {
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(g, 10)
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	u := &d.Spec.UpdateStrategy
	blank(&u.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if u.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		unset(&u.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		unset(&u.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		unset(&u.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	unset(&d.Spec.RevisionHistoryLimit, 10)
	defaultPodTemplate(&d.Spec.Template)
}
