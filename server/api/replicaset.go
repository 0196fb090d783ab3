package api

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

func replicaSet() *Kind {
	return &Kind{
		Group: "apps", Kind: "ReplicaSet", Plural: "replicasets", Singular: "replicaset", ShortNames: []string{"rs"},
		Categories: []string{"all"}, Namespaced: true,
		Versions: []Version{typed[appsv1.ReplicaSet, appsv1.ReplicaSetList]("apps", "v1")},
		Prefix:   "/registry/replicasets",
		Strategy: Strategy{
			Default: do(func(r *appsv1.ReplicaSet) {
				unset(&r.Spec.Replicas, 1)
				defaultPodTemplate(&r.Spec.Template)
			}),
			PrepareCreate: created(func(r *appsv1.ReplicaSet) { r.Status = appsv1.ReplicaSetStatus{} }),
			PrepareUpdate: updated(func(r, old *appsv1.ReplicaSet) { r.Status = old.Status },
				func(r *appsv1.ReplicaSet) any { return r.Spec }),
			Validate:                 one(validateReplicaSet),
			ValidateUpdate:           pair(validateReplicaSetUpdate),
			Warnings:                 pair(replicaSetWarnings),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{
			status(func(to, from *appsv1.ReplicaSet) { to.Status = from.Status }, validateReplicaSetStatus),
			scale(func(r *appsv1.ReplicaSet) (scaleView, error) {
				sel, err := selectorString(r.Spec.Selector)
				return scaleView{&r.Spec.Replicas, r.Status.Replicas, sel}, err
			}),
		},
		Columns: append(append([]Column{
			num("Desired", "pods it should have", func(r *appsv1.ReplicaSet) int32 { return deref(r.Spec.Replicas) }),
			num("Current", "pods it has", func(r *appsv1.ReplicaSet) int32 { return r.Status.Replicas }),
			num("Ready", "pods that are ready", func(r *appsv1.ReplicaSet) int32 { return r.Status.ReadyReplicas }),
			age(),
		}, containerColumns(func(r *appsv1.ReplicaSet) *corev1.PodSpec { return &r.Spec.Template.Spec }, true)...),
			selectorColumn(func(r *appsv1.ReplicaSet) *metav1.LabelSelector { return r.Spec.Selector })),
		Fields: one(func(r *appsv1.ReplicaSet) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
		}),
		FieldNames: []string{"status.replicas"},
	}
}
