package api

import (
	corev1 "k8s.io/api/core/v1"
)

// ComponentStatus is deprecated, and read-only: the server writes at its start what its parts are. They live in one
// process, so whoever reads it finds them healthy.
func componentStatus() *Kind {
	type status = *corev1.ComponentStatus
	healthy := func(s status) (c corev1.ComponentCondition) {
		for _, c := range s.Conditions {
			if c.Type == corev1.ComponentHealthy {
				return c
			}
		}
		return c
	}
	typ := typed[corev1.ComponentStatus, corev1.ComponentStatusList]("", "v1")
	typ.Deprecation = "v1 ComponentStatus is deprecated in v1.19+"
	return &Kind{
		Kind: "ComponentStatus", Plural: "componentstatuses", Singular: "componentstatus", ShortNames: []string{"cs"},
		Versions: []Version{typ},
		Prefix:   "/registry/componentstatuses",
		Verbs:    []string{"get", "list"},
		Strategy: Strategy{AllowUnconditionalUpdate: true},
		Columns: []Column{
			str("Status", "whether it is healthy", func(s status) string {
				switch healthy(s).Status {
				case corev1.ConditionTrue:
					return "Healthy"
				case "":
					return "Unknown"
				}
				return "Unhealthy"
			}),
			str("Message", "what it says", func(s status) string { return healthy(s).Message }),
			str("Error", "what went wrong", func(s status) string { return healthy(s).Error }),
		},
	}
}
