package api

import (
	"encoding/json"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// autoscaling/v1 has fields for CPU utilization only. What else v2 says travels in annotations, so that reading and
// writing back through v1 loses nothing.
const (
	hpaSpecAnnotation   = "autoscaling.skiff.io/v2-spec"
	hpaStatusAnnotation = "autoscaling.skiff.io/v2-status"
)

func hpaToV1(h *autoscalingv2.HorizontalPodAutoscaler) (*autoscalingv1.HorizontalPodAutoscaler, error) {
	h = h.DeepCopy()
	out := &autoscalingv1.HorizontalPodAutoscaler{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v1", Kind: "HorizontalPodAutoscaler"}, ObjectMeta: h.ObjectMeta,
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(h.Spec.ScaleTargetRef),
			MinReplicas:    h.Spec.MinReplicas, MaxReplicas: h.Spec.MaxReplicas,
		},
		Status: autoscalingv1.HorizontalPodAutoscalerStatus{
			ObservedGeneration: h.Status.ObservedGeneration, LastScaleTime: h.Status.LastScaleTime,
			CurrentReplicas: h.Status.CurrentReplicas, DesiredReplicas: h.Status.DesiredReplicas,
		},
	}
	for _, m := range h.Spec.Metrics {
		if isCPUUse(m.Resource) {
			out.Spec.TargetCPUUtilizationPercentage = m.Resource.Target.AverageUtilization
		}
	}
	for _, m := range h.Status.CurrentMetrics {
		if m.Resource != nil && m.Resource.Name == corev1.ResourceCPU {
			out.Status.CurrentCPUUtilizationPercentage = m.Resource.Current.AverageUtilization
		}
	}
	if h.Spec.Behavior != nil || len(h.Spec.Metrics) > 1 || len(h.Spec.Metrics) == 1 && !isCPUUse(h.Spec.Metrics[0].Resource) {
		rest := autoscalingv2.HorizontalPodAutoscalerSpec{Metrics: h.Spec.Metrics, Behavior: h.Spec.Behavior}
		if err := annotate(out, hpaSpecAnnotation, rest); err != nil {
			return nil, err
		}
	}
	if len(h.Status.Conditions)+len(h.Status.CurrentMetrics) > 0 {
		rest := autoscalingv2.HorizontalPodAutoscalerStatus{CurrentMetrics: h.Status.CurrentMetrics, Conditions: h.Status.Conditions}
		if err := annotate(out, hpaStatusAnnotation, rest); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func isCPUUse(r *autoscalingv2.ResourceMetricSource) bool {
	return r != nil && r.Name == corev1.ResourceCPU && r.Target.Type == autoscalingv2.UtilizationMetricType
}

func annotate(o Object, key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	a := o.GetAnnotations()
	if a == nil {
		a = map[string]string{}
	}
	a[key] = string(b)
	o.SetAnnotations(a)
	return nil
}

func hpaFromV1(h *autoscalingv1.HorizontalPodAutoscaler) (*autoscalingv2.HorizontalPodAutoscaler, error) {
	h = h.DeepCopy()
	out := &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"}, ObjectMeta: h.ObjectMeta,
	}
	// Annotations are the user's to damage: what cannot be read is as if it were not there.
	_ = json.Unmarshal([]byte(h.Annotations[hpaSpecAnnotation]), &out.Spec)
	_ = json.Unmarshal([]byte(h.Annotations[hpaStatusAnnotation]), &out.Status)
	delete(out.Annotations, hpaSpecAnnotation)
	delete(out.Annotations, hpaStatusAnnotation)
	out.Spec.ScaleTargetRef = autoscalingv2.CrossVersionObjectReference(h.Spec.ScaleTargetRef)
	out.Spec.MinReplicas, out.Spec.MaxReplicas = h.Spec.MinReplicas, h.Spec.MaxReplicas
	out.Status.ObservedGeneration, out.Status.LastScaleTime = h.Status.ObservedGeneration, h.Status.LastScaleTime
	out.Status.CurrentReplicas, out.Status.DesiredReplicas = h.Status.CurrentReplicas, h.Status.DesiredReplicas
	if percent := h.Spec.TargetCPUUtilizationPercentage; percent != nil {
		for i := range out.Spec.Metrics {
			if isCPUUse(out.Spec.Metrics[i].Resource) {
				out.Spec.Metrics[i].Resource.Target.AverageUtilization = percent
				return out, nil
			}
		}
		out.Spec.Metrics = append(out.Spec.Metrics, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{
				Type: autoscalingv2.UtilizationMetricType, AverageUtilization: percent,
			}},
		})
	}
	return out, nil
}
