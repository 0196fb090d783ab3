package api

import (
	"fmt"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func horizontalPodAutoscaler() *Kind {
	v1 := typed[autoscalingv1.HorizontalPodAutoscaler, autoscalingv1.HorizontalPodAutoscalerList]("autoscaling", "v1")
	v1.ToHub = func(o Object) (Object, error) { return hpaFromV1(o.(*autoscalingv1.HorizontalPodAutoscaler)) }
	v1.FromHub = func(o Object) (Object, error) { return hpaToV1(o.(*autoscalingv2.HorizontalPodAutoscaler)) }
	return &Kind{
		Group: "autoscaling", Kind: "HorizontalPodAutoscaler", Plural: "horizontalpodautoscalers", Singular: "horizontalpodautoscaler",
		ShortNames: []string{"hpa"}, Categories: []string{"all"}, Namespaced: true,
		Versions: []Version{typed[autoscalingv2.HorizontalPodAutoscaler, autoscalingv2.HorizontalPodAutoscalerList]("autoscaling", "v2"), v1},
		Prefix:   "/registry/horizontalpodautoscalers",
		Strategy: Strategy{
			Default: do(defaultHPA),
			PrepareCreate: created(func(h *autoscalingv2.HorizontalPodAutoscaler) {
				h.Status = autoscalingv2.HorizontalPodAutoscalerStatus{}
			}),
			PrepareUpdate: updated(func(h, old *autoscalingv2.HorizontalPodAutoscaler) { h.Status = old.Status },
				func(h *autoscalingv2.HorizontalPodAutoscaler) any { return h.Spec }),
			Validate: one(validateHPA),
			ValidateUpdate: pair(func(h, _ *autoscalingv2.HorizontalPodAutoscaler) fieldErrors {
				return validateHPA(h)
			}),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{status(func(to, from *autoscalingv2.HorizontalPodAutoscaler) { to.Status = from.Status }, nil)},
		Columns: []Column{
			str("Reference", "what it scales", func(h *autoscalingv2.HorizontalPodAutoscaler) string {
				return h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name
			}),
			str("Targets", "metrics: what they are, and should be", hpaTargets),
			str("MinPods", "fewest pods", func(h *autoscalingv2.HorizontalPodAutoscaler) string {
				if h.Spec.MinReplicas == nil {
					return "<unset>"
				}
				return fmt.Sprint(*h.Spec.MinReplicas)
			}),
			tally("MaxPods", "most pods", func(h *autoscalingv2.HorizontalPodAutoscaler) int32 { return h.Spec.MaxReplicas }),
			tally("Replicas", "pods there are", func(h *autoscalingv2.HorizontalPodAutoscaler) int32 { return h.Status.CurrentReplicas }),
			age(),
		},
	}
}

func defaultHPA(h *autoscalingv2.HorizontalPodAutoscaler) {
	unset(&h.Spec.MinReplicas, 1)
	if len(h.Spec.Metrics) == 0 {
		percent := int32(80)
		h.Spec.Metrics = []autoscalingv2.MetricSpec{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{
				Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent,
			}},
		}}
	}
	b := h.Spec.Behavior
	if b == nil {
		return
	}
	unset(&b.ScaleUp, autoscalingv2.HPAScalingRules{})
	unset(&b.ScaleUp.StabilizationWindowSeconds, 0)
	defaultScalingRules(b.ScaleUp, []autoscalingv2.HPAScalingPolicy{
		{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
		{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
	})
	unset(&b.ScaleDown, autoscalingv2.HPAScalingRules{})
	defaultScalingRules(b.ScaleDown, []autoscalingv2.HPAScalingPolicy{
		{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
	})
}

func defaultScalingRules(r *autoscalingv2.HPAScalingRules, policies []autoscalingv2.HPAScalingPolicy) {
	unset(&r.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if r.Policies == nil {
		r.Policies = policies
	}
}

func hpaTargets(h *autoscalingv2.HorizontalPodAutoscaler) string {
	if len(h.Spec.Metrics) == 0 {
		return "<none>"
	}
	var list []string
	for i, m := range h.Spec.Metrics {
		var now autoscalingv2.MetricStatus
		if i < len(h.Status.CurrentMetrics) {
			now = h.Status.CurrentMetrics[i]
		}
		list = append(list, hpaTarget(m, now))
	}
	if len(list) > 2 {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:2], ", "), len(list)-2)
	}
	return strings.Join(list, ", ")
}

func hpaTarget(m autoscalingv2.MetricSpec, now autoscalingv2.MetricStatus) string {
	switch {
	case m.External != nil:
		var c *autoscalingv2.MetricValueStatus
		if now.External != nil {
			c = &now.External.Current
		}
		return hpaValue(m.External.Target, c, " (avg)")
	case m.Object != nil:
		var c *autoscalingv2.MetricValueStatus
		if now.Object != nil {
			c = &now.Object.Current
		}
		return hpaValue(m.Object.Target, c, " (avg)")
	case m.Pods != nil:
		var c *autoscalingv2.MetricValueStatus
		if now.Pods != nil {
			c = &now.Pods.Current
		}
		return hpaValue(m.Pods.Target, c, "")
	case m.Resource != nil:
		var c *autoscalingv2.MetricValueStatus
		if now.Resource != nil {
			c = &now.Resource.Current
		}
		return string(m.Resource.Name) + ": " + hpaUsage(m.Resource.Target, c)
	case m.ContainerResource != nil:
		var c *autoscalingv2.MetricValueStatus
		if now.ContainerResource != nil {
			c = &now.ContainerResource.Current
		}
		return string(m.ContainerResource.Name) + ": " + hpaUsage(m.ContainerResource.Target, c)
	}
	return "<unknown type>"
}

// hpaValue prints "current/target" of a metric that has a value of its own.
func hpaValue(t autoscalingv2.MetricTarget, now *autoscalingv2.MetricValueStatus, averaged string) string {
	if now == nil {
		now = &autoscalingv2.MetricValueStatus{}
	}
	if t.AverageValue != nil {
		return quantityOrUnknown(now.AverageValue) + "/" + t.AverageValue.String() + averaged
	}
	return quantityOrUnknown(now.Value) + "/" + quantityOrUnknown(t.Value)
}

// hpaUsage prints "current/target" of a resource, in per cent of what is requested or as a value.
func hpaUsage(t autoscalingv2.MetricTarget, now *autoscalingv2.MetricValueStatus) string {
	if t.AverageValue != nil {
		return hpaValue(t, now, "")
	}
	current, target := "<unknown>", "<auto>"
	if now != nil && now.AverageUtilization != nil {
		current = fmt.Sprintf("%d%%", *now.AverageUtilization)
	}
	if t.AverageUtilization != nil {
		target = fmt.Sprintf("%d%%", *t.AverageUtilization)
	}
	return current + "/" + target
}

func quantityOrUnknown(q *resource.Quantity) string {
	if q == nil {
		return "<unknown>"
	}
	return q.String()
}
