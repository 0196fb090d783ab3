package api

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateHPA(h *autoscalingv2.HorizontalPodAutoscaler) fieldErrors {
	c, spec, s := &check{}, at("spec"), &h.Spec
	if n := s.MinReplicas; n != nil && *n < 1 {
		c.invalid(spec.Child("minReplicas"), *n, "must be greater than or equal to 1")
	}
	if s.MaxReplicas < 1 {
		c.invalid(spec.Child("maxReplicas"), s.MaxReplicas, "must be greater than 0")
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		c.invalid(spec.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	c.name(spec.Child("scaleTargetRef", "kind"), s.ScaleTargetRef.Kind, dnsName(roleName))
	c.name(spec.Child("scaleTargetRef", "name"), s.ScaleTargetRef.Name, dnsName(roleName))
	for i := range s.Metrics {
		c.metric(spec.Child("metrics").Index(i), &s.Metrics[i])
	}
	if b := s.Behavior; b != nil {
		c.scalingRules(spec.Child("behavior", "scaleUp"), b.ScaleUp)
		c.scalingRules(spec.Child("behavior", "scaleDown"), b.ScaleDown)
	}
	return c.errs
}

// metric: the type names the one source that is set.
func (c *check) metric(at *field.Path, m *autoscalingv2.MetricSpec) {
	sources := []struct {
		t    autoscalingv2.MetricSourceType
		name string
		set  bool
	}{
		{autoscalingv2.ObjectMetricSourceType, "object", m.Object != nil},
		{autoscalingv2.PodsMetricSourceType, "pods", m.Pods != nil},
		{autoscalingv2.ResourceMetricSourceType, "resource", m.Resource != nil},
		{autoscalingv2.ContainerResourceMetricSourceType, "containerResource", m.ContainerResource != nil},
		{autoscalingv2.ExternalMetricSourceType, "external", m.External != nil},
	}
	if !c.needs(at.Child("type"), string(m.Type)) {
		return
	}
	known := false
	for _, s := range sources {
		switch {
		case s.t == m.Type && !s.set:
			c.required(at.Child(s.name), "must populate information for the given metric source")
		case s.t != m.Type && s.set:
			c.forbidden(at.Child(s.name), "must populate the given metric source only")
		}
		known = known || s.t == m.Type
	}
	if !known {
		oneOf(c, at.Child("type"), m.Type, autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType,
			autoscalingv2.ResourceMetricSourceType, autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType)
	}
	if r := m.Resource; r != nil {
		c.resourceMetric(at.Child("resource"), r.Name, &r.Target)
	}
	if r := m.ContainerResource; r != nil {
		c.resourceMetric(at.Child("containerResource"), r.Name, &r.Target)
		c.needs(at.Child("containerResource", "container"), r.Container)
	}
}

func (c *check) resourceMetric(at *field.Path, name corev1.ResourceName, t *autoscalingv2.MetricTarget) {
	c.needs(at.Child("name"), string(name))
	switch {
	case t.AverageUtilization == nil && t.AverageValue == nil:
		c.required(at.Child("target", "averageUtilization"), "must set either a target raw value or a target utilization")
	case t.AverageUtilization != nil && t.AverageValue != nil:
		c.forbidden(at.Child("target", "averageValue"), "may not set both a target raw value and a target utilization")
	case t.AverageUtilization != nil && *t.AverageUtilization < 1:
		c.invalid(at.Child("target", "averageUtilization"), *t.AverageUtilization, "must be greater than 0")
	case t.AverageValue != nil && t.AverageValue.Sign() <= 0:
		c.invalid(at.Child("target", "averageValue"), t.AverageValue.String(), "must be positive")
	}
}

const maxStabilizationSeconds = 3600

func (c *check) scalingRules(at *field.Path, r *autoscalingv2.HPAScalingRules) {
	if r == nil {
		return
	}
	if n := r.StabilizationWindowSeconds; n != nil {
		c.nonNegative(at.Child("stabilizationWindowSeconds"), int64(*n))
		if *n > maxStabilizationSeconds {
			c.invalid(at.Child("stabilizationWindowSeconds"), *n, "must be less than or equal to 3600")
		}
	}
	if p := r.SelectPolicy; p != nil {
		oneOf(c, at.Child("selectPolicy"), *p, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect)
	}
	if len(r.Policies) == 0 {
		c.required(at.Child("policies"), "must specify at least one Policy")
	}
	for i, p := range r.Policies {
		path := at.Child("policies").Index(i)
		oneOf(c, path.Child("type"), p.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
		if p.Value <= 0 {
			c.invalid(path.Child("value"), p.Value, "must be greater than zero")
		}
		if p.PeriodSeconds <= 0 || p.PeriodSeconds > 1800 {
			c.invalid(path.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero and less than or equal to 1800")
		}
	}
}
