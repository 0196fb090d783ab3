package api

import (
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

func replicationController() *Kind {
	spec := func(r *corev1.ReplicationController) *corev1.PodSpec {
		if r.Spec.Template == nil {
			return nil
		}
		return &r.Spec.Template.Spec
	}
	return &Kind{
		Kind: "ReplicationController", Plural: "replicationcontrollers", Singular: "replicationcontroller",
		ShortNames: []string{"rc"}, Categories: []string{"all"}, Namespaced: true,
		Versions: []Version{typed[corev1.ReplicationController, corev1.ReplicationControllerList]("", "v1")},
		Prefix:   "/registry/controllers",
		Strategy: Strategy{
			Default:       do(defaultReplicationController),
			PrepareCreate: created(func(r *corev1.ReplicationController) { r.Status = corev1.ReplicationControllerStatus{} }),
			PrepareUpdate: updated(func(r, old *corev1.ReplicationController) { r.Status = old.Status },
				func(r *corev1.ReplicationController) any { return r.Spec }),
			Validate:                 one(validateReplicationController),
			ValidateUpdate:           pair(validateReplicationControllerUpdate),
			Warnings:                 pair(replicationControllerWarnings),
			AllowUnconditionalUpdate: true,
			// Pods outlive a ReplicationController unless its deleter says otherwise: older than garbage collection.
			DefaultPropagation: metav1.DeletePropagationOrphan,
		},
		Subresources: []Subresource{
			status(func(to, from *corev1.ReplicationController) { to.Status = from.Status }, validateReplicationControllerStatus),
			scale(func(r *corev1.ReplicationController) (scaleView, error) {
				return scaleView{&r.Spec.Replicas, r.Status.Replicas, labels.Set(r.Spec.Selector).String()}, nil
			}),
		},
		Columns: append(append([]Column{
			num("Desired", "pods it should have", func(r *corev1.ReplicationController) int32 { return deref(r.Spec.Replicas) }),
			num("Current", "pods it has", func(r *corev1.ReplicationController) int32 { return r.Status.Replicas }),
			num("Ready", "pods that are ready", func(r *corev1.ReplicationController) int32 { return r.Status.ReadyReplicas }),
			age(),
		}, containerColumns(spec, true)...),
			wide(str("Selector", "labels of its pods", func(r *corev1.ReplicationController) string { return formatLabels(r.Spec.Selector) }))),
		Fields: one(func(r *corev1.ReplicationController) fields.Set {
			return fields.Set{"status.replicas": strconv.Itoa(int(r.Status.Replicas))}
		}),
		FieldNames: []string{"status.replicas"},
	}
}

// defaultReplicationController: selector and labels left out are the template's labels.
func defaultReplicationController(r *corev1.ReplicationController) {
	unset(&r.Spec.Replicas, 1)
	t := r.Spec.Template
	if t == nil {
		return
	}
	defaultPodTemplate(t)
	if len(t.Labels) > 0 && len(r.Spec.Selector) == 0 {
		r.Spec.Selector = maps.Clone(t.Labels)
	}
	if len(t.Labels) > 0 && len(r.Labels) == 0 {
		r.Labels = maps.Clone(t.Labels)
	}
}
