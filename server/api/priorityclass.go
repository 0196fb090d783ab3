package api

import (
	"fmt"
	"strings"
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
			str("PreemptionPolicy", "whether its pods push others out", func(c *schedulingv1.PriorityClass) string {
				return string(deref(c.PreemptionPolicy))
			}),
		},
	}
}

// Names and values above these are the system's.
const (
	systemClassPrefix   = "system-"
	highestUserPriority = 1_000_000_000
	systemCritical      = 2 * highestUserPriority
)

// systemClasses are the two that every cluster has.
var systemClasses = map[string]int32{"system-node-critical": systemCritical + 1000, "system-cluster-critical": systemCritical}

func validatePriorityClass(p *schedulingv1.PriorityClass) fieldErrors {
	c := &check{}
	value, known := systemClasses[p.Name]
	switch {
	case known && p.Value == value && !p.GlobalDefault:
	case strings.HasPrefix(p.Name, systemClassPrefix):
		c.forbidden(at("metadata", "name"), "priority class names with 'system-' prefix are reserved for system use only. error: "+
			fmt.Sprintf("%s is not a known system priority class", p.Name))
	case p.Value > highestUserPriority:
		c.forbidden(at("value"), fmt.Sprintf("maximum allowed value of a user defined priority is %d", highestUserPriority))
	}
	if p.PreemptionPolicy != nil {
		oneOf(c, at("preemptionPolicy"), *p.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	return c.errs
}

func validatePriorityClassUpdate(p, old *schedulingv1.PriorityClass) fieldErrors {
	c := &check{}
	if p.Value != old.Value {
		c.forbidden(at("value"), "may not be changed in an update.")
	}
	c.immutable(at("preemptionPolicy"), p.PreemptionPolicy, old.PreemptionPolicy)
	return c.errs
}
