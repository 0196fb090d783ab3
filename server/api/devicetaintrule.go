package api

import (
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func deviceTaintRule() *Kind {
	type rule = *resourcev1.DeviceTaintRule
	return &Kind{
		Group: "resource.k8s.io", Kind: "DeviceTaintRule", Plural: "devicetaintrules", Singular: "devicetaintrule",
		Versions: []Version{typed[resourcev1.DeviceTaintRule, resourcev1.DeviceTaintRuleList]("resource.k8s.io", "v1")},
		Prefix:   "/registry/devicetaintrules",
		Strategy: Strategy{
			Default: do(func(r rule) { defaultDeviceTaint(r, &r.Spec.Taint) }),
			PrepareCreate: created(func(r rule) {
				r.Status = resourcev1.DeviceTaintRuleStatus{}
			}),
			PrepareUpdate:  updated(func(r, old rule) { r.Status = old.Status }, func(r rule) any { return r.Spec }),
			Validate:       one(func(r rule) fieldErrors { return validateDeviceTaintRuleUpdate(r, nil) }),
			ValidateUpdate: pair(validateDeviceTaintRuleUpdate),
		},
		Subresources: []Subresource{statusAlone(func(to, from rule) { to.Status = from.Status }, validateDeviceTaintRuleStatus)},
		Columns: []Column{
			str("Key", "key of the taint", func(r rule) string { return r.Spec.Taint.Key }),
			str("Value", "value of the taint", func(r rule) string { return r.Spec.Taint.Value }),
			str("Effect", "what the taint does", func(r rule) string { return string(r.Spec.Taint.Effect) }),
			col("TimeAdded", "string", "time since the taint was set", func(r rule, now time.Time) any {
				if r.Spec.Taint.TimeAdded == nil {
					return "<unknown>"
				}
				return since(r.Spec.Taint.TimeAdded.Time, now)
			}),
			age(),
		},
	}
}

// defaultDeviceTaint: a taint without a time has been there since its object was made.
func defaultDeviceTaint(obj Object, t *resourcev1.DeviceTaint) {
	if made := obj.GetCreationTimestamp(); t.TimeAdded == nil && !made.IsZero() {
		t.TimeAdded = &made
	}
}

// validateDeviceTaintRuleUpdate checks a new rule when old is nil.
func validateDeviceTaintRuleUpdate(r, old *resourcev1.DeviceTaintRule) fieldErrors {
	c, spec := &check{}, at("spec")
	if s := r.Spec.DeviceSelector; s != nil {
		path := spec.Child("deviceSelector")
		if s.Driver != nil {
			c.driverName(path.Child("driver"), *s.Driver)
		}
		if s.Pool != nil {
			c.poolName(path.Child("pool"), *s.Pool)
		}
		if s.Device != nil {
			c.dnsLabel(path.Child("device"), *s.Device)
		}
	}
	var before *resourcev1.DeviceTaint
	if old != nil {
		before = &old.Spec.Taint
	}
	c.deviceTaint(spec.Child("taint"), &r.Spec.Taint, before)
	return c.errs
}

func validateDeviceTaintRuleStatus(r, _ *resourcev1.DeviceTaintRule) fieldErrors {
	c, path, list := &check{}, at("status", "conditions"), r.Status.Conditions
	c.add(metavalidation.ValidateConditions(list, path)...)
	if len(list) > resourcev1.DeviceTaintRuleStatusMaxConditions {
		c.add(field.TooMany(path, len(list), resourcev1.DeviceTaintRuleStatusMaxConditions))
	}
	return c.errs
}
