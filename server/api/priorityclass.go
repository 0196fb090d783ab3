package api

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
)

func priorityClass() *Kind {
	return &Kind{
		Group: "scheduling.k8s.io", Kind: "PriorityClass", Plural: "priorityclasses", Singular: "priorityclass", ShortNames: []string{"pc"},
		Versions: []Version{typed[schedulingv1.PriorityClass, schedulingv1.PriorityClassList]("scheduling.k8s.io", "v1")},
		Prefix:   "/registry/priorityclasses",
		Strategy: Strategy{
			Default: do(func(c *schedulingv1.PriorityClass) {
				unset(&c.PreemptionPolicy, corev1.PreemptLowerPriority)
			}),
			PrepareCreate:            created[*schedulingv1.PriorityClass](nil),
			PrepareUpdate:            doPair(func(c, _ *schedulingv1.PriorityClass) { c.Generation = 1 }),
			Validate:                 one(validatePriorityClass),
			ValidateUpdate:           pair(validatePriorityClassUpdate),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{
			num("Value", "priority of its pods", func(c *schedulingv1.PriorityClass) int32 { return c.Value }),
			col("Global-Default", "boolean", "whether pods without a class get it", func(c *schedulingv1.PriorityClass, _ time.Time) any {
				return c.GlobalDefault
			}),
			age(),
			wide(str("PreemptionPolicy", "whether its pods push others out", func(c *schedulingv1.PriorityClass) string {
				return string(deref(c.PreemptionPolicy))
			})),
		},
	}
}
