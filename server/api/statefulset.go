package api

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func statefulSet() *Kind {
	return &Kind{
		Group: "apps", Kind: "StatefulSet", Plural: "statefulsets", Singular: "statefulset", ShortNames: []string{"sts"},
		Categories: []string{"all"}, Namespaced: true,
		Versions: []Version{typed[appsv1.StatefulSet, appsv1.StatefulSetList]("apps", "v1")},
		Prefix:   "/registry/statefulsets",
		Strategy: Strategy{
			Default:       do(defaultStatefulSet),
			PrepareCreate: created(func(s *appsv1.StatefulSet) { s.Status = appsv1.StatefulSetStatus{} }),
			PrepareUpdate: updated(func(s, old *appsv1.StatefulSet) { s.Status = old.Status },
				func(s *appsv1.StatefulSet) any { return s.Spec }),
			Validate:                 one(validateStatefulSet),
			ValidateUpdate:           pair(validateStatefulSetUpdate),
			Warnings:                 pair(statefulSetWarnings),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{
			status(func(to, from *appsv1.StatefulSet) { to.Status = from.Status }, nil),
			scale(func(s *appsv1.StatefulSet) (scaleView, error) {
				sel, err := selectorString(s.Spec.Selector)
				return scaleView{&s.Spec.Replicas, s.Status.Replicas, sel}, err
			}),
		},
		Columns: append([]Column{
			str("Ready", "pods that are ready, of how many", func(s *appsv1.StatefulSet) string {
				return fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, deref(s.Spec.Replicas))
			}),
			age(),
		}, containerColumns(func(s *appsv1.StatefulSet) *corev1.PodSpec { return &s.Spec.Template.Spec }, true)...),
	}
}

func defaultStatefulSet(s *appsv1.StatefulSet) {
	blank(&s.Spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	u := &s.Spec.UpdateStrategy
	if u.Type == "" {
		u.Type = appsv1.RollingUpdateStatefulSetStrategyType
		unset(&u.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if u.Type == appsv1.RollingUpdateStatefulSetStrategyType && u.RollingUpdate != nil {
		unset(&u.RollingUpdate.Partition, 0)
		unset(&u.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
	}
	unset(&s.Spec.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	blank(&s.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	blank(&s.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	unset(&s.Spec.Replicas, 1)
	unset(&s.Spec.RevisionHistoryLimit, 10)
	defaultPodTemplate(&s.Spec.Template)
	for i := range s.Spec.VolumeClaimTemplates {
		c := &s.Spec.VolumeClaimTemplates[i]
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
		defaultClaim(c)
	}
}
