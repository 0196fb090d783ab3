package api

import (
	corev1 "k8s.io/api/core/v1"
)

func podTemplate() *Kind {
	return &Kind{
		Kind: "PodTemplate", Plural: "podtemplates", Singular: "podtemplate", Namespaced: true,
		Versions: []Version{typed[corev1.PodTemplate, corev1.PodTemplateList]("", "v1")},
		Prefix:   "/registry/podtemplates",
		Strategy: Strategy{
			Default:                  do(func(t *corev1.PodTemplate) { defaultPodTemplate(&t.Template) }),
			PrepareCreate:            created[*corev1.PodTemplate](nil),
			PrepareUpdate:            updated(nil, func(t *corev1.PodTemplate) any { return t.Template }),
			Validate:                 one(validatePodTemplate),
			ValidateUpdate:           pair(validatePodTemplateUpdate),
			Warnings:                 pair(podTemplateKindWarnings),
			AllowUnconditionalUpdate: true,
		},
		Columns: append(containerColumns(func(t *corev1.PodTemplate) *corev1.PodSpec { return &t.Template.Spec }, false),
			str("Pod Labels", "labels of the template", func(t *corev1.PodTemplate) string { return formatLabels(t.Template.Labels) })),
	}
}
