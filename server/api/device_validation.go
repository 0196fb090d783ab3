package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What claims, classes, slices and taint rules share.

// each checks the items of a list that has at most most of them (-1: any number).
func each[T any](c *check, at *field.Path, list []T, most int, f func(*field.Path, *T)) {
	if most >= 0 && len(list) > most {
		c.add(field.TooMany(at, len(list), most))
		return
	}
	for i := range list {
		f(at.Index(i), &list[i])
	}
}

// eachOnce is each for lists whose items have a key that comes once.
func eachOnce[T any, K comparable](c *check, at *field.Path, list []T, most int, key func(*T) K, f func(*field.Path, *T)) {
	if each(c, at, list, most, f); most >= 0 && len(list) > most {
		return
	}
	seen := map[K]bool{}
	for i := range list {
		k := key(&list[i])
		if seen[k] {
			c.add(field.Duplicate(at.Index(i), k))
		}
		seen[k] = true
	}
}

func itself(s *string) string { return *s }

func (c *check) poolName(at *field.Path, name string) {
	if !c.needs(at, name) {
		return
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		c.add(field.TooLong(at, "", resourcev1.PoolNameMaxLength))
	}
	for _, part := range strings.Split(name, "/") {
		c.invalid(at, part, subdomain(part)...)
	}
}

func (c *check) dnsLabel(at *field.Path, name string) {
	c.invalid(at, name, validation.IsDNS1123Label(name)...)
}

// identifier is the last part of the name of an attribute or capacity.
func (c *check) identifier(at *field.Path, id string) {
	if len(id) > resourcev1.DeviceMaxIDLength {
		c.add(field.TooLong(at, "", resourcev1.DeviceMaxIDLength))
	}
	c.invalid(at, id, content.IsCIdentifier(id)...)
}

func (c *check) qualifiedName(at *field.Path, name string) {
	domain, id, ok := strings.Cut(name, "/")
	switch {
	case !ok:
		c.identifier(at, name)
		return
	case strings.Contains(id, "/"):
		return
	case domain == "":
		c.invalid(at, "", "the domain must not be empty")
	default:
		c.driverName(at, domain)
	}
	if id == "" {
		c.invalid(at, "", "the name must not be empty")
	} else {
		c.identifier(at, id)
	}
}

func (c *check) fullyQualifiedName(at *field.Path, name resourcev1.FullyQualifiedName) {
	c.qualifiedName(at, string(name))
	if !strings.Contains(string(name), "/") {
		c.invalid(at, name, "a fully qualified name must be a domain and a name separated by a slash")
	}
}

// jsonObject checks free-form parameters.
func (c *check) jsonObject(at *field.Path, raw runtime.RawExtension, most int) {
	var v any
	switch {
	case len(raw.Raw) == 0:
		c.required(at, "")
	case len(raw.Raw) > most:
		c.add(field.TooLong(at, "", most))
	default:
		if err := json.Unmarshal(raw.Raw, &v); err != nil {
			c.invalid(at, "<value omitted>", "error parsing data as JSON: "+err.Error())
		} else if v == nil {
			c.required(at, "")
		} else if _, ok := v.(map[string]any); !ok {
			c.invalid(at, "<value omitted>", "must be a valid JSON object")
		}
	}
}

func (c *check) deviceConfiguration(at *field.Path, d *resourcev1.DeviceConfiguration) {
	if d.Opaque == nil {
		c.required(at.Child("opaque"), "")
		return
	}
	c.driverName(at.Child("opaque", "driver"), d.Opaque.Driver)
	c.jsonObject(at.Child("opaque", "parameters"), d.Opaque.Parameters, resourcev1.OpaqueParametersMaxLength)
}

func (c *check) deviceSelectors(at *field.Path, list []resourcev1.DeviceSelector) {
	each(c, at, list, resourcev1.DeviceSelectorsMaxSize, func(at *field.Path, s *resourcev1.DeviceSelector) {
		if s.CEL == nil {
			c.required(at.Child("cel"), "")
		} else {
			c.deviceExpression(at.Child("cel", "expression"), s.CEL.Expression)
		}
	})
}

var deviceEffects = []resourcev1.DeviceTaintEffect{resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone}

func (c *check) deviceTaint(at *field.Path, t, old *resourcev1.DeviceTaint) {
	c.add(metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
	c.invalid(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value)...)
	if old == nil || old.Effect != t.Effect {
		oneOf(c, at.Child("effect"), t.Effect, deviceEffects...)
	}
}

func (c *check) deviceTolerations(at *field.Path, list []resourcev1.DeviceToleration) {
	each(c, at, list, resourcev1.DeviceTolerationsMaxLength, func(at *field.Path, t *resourcev1.DeviceToleration) {
		if t.Key != "" {
			c.add(metavalidation.ValidateLabelName(t.Key, at.Child("key"))...)
		}
		switch t.Operator {
		case resourcev1.DeviceTolerationOpExists:
			if t.Value != "" {
				c.invalid(at.Child("value"), t.Value, "must be empty for operator `Exists`")
			}
		case resourcev1.DeviceTolerationOpEqual:
			c.invalid(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value)...)
		default:
			oneOf(c, at.Child("operator"), t.Operator, resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists)
		}
		if t.Effect != "" && !slices.Contains(deviceEffects, t.Effect) {
			c.add(field.NotSupported(at.Child("effect"), t.Effect, deviceEffects))
		}
	})
}

// deviceBinding checks the conditions that a device must have before its pod is bound.
func (c *check) deviceBinding(at *field.Path, conditions, failures []string) {
	for _, l := range []struct {
		name string
		list []string
		most int
	}{
		{"bindingConditions", conditions, resourcev1.BindingConditionsMaxSize},
		{"bindingFailureConditions", failures, resourcev1.BindingFailureConditionsMaxSize},
	} {
		eachOnce(c, at.Child(l.name), l.list, l.most, itself, func(at *field.Path, s *string) {
			c.add(metavalidation.ValidateLabelName(*s, at)...)
		})
	}
	for i, f := range failures {
		if slices.Contains(conditions, f) {
			c.invalid(at.Child("bindingFailureConditions").Index(i), f, "bindingFailureConditions must not overlap with bindingConditions")
		}
	}
	if len(conditions) == 0 && len(failures) > 0 {
		c.invalid(at.Child("bindingConditions"), conditions, "bindingConditions are required to use bindingFailureConditions")
	}
	if len(failures) == 0 && len(conditions) > 0 {
		c.invalid(at.Child("bindingFailureConditions"), failures, "bindingFailureConditions are required to use bindingConditions")
	}
}

// oneNode checks that a place is given in exactly one way, and returns the ways.
func (c *check) oneNode(at *field.Path, name *string, selector *corev1.NodeSelector, all *bool, emptyName string) (set []string) {
	if name != nil {
		if *name == "" {
			c.invalid(at.Child("nodeName"), *name, emptyName)
		} else {
			set = append(set, "`nodeName`")
			c.invalid(at.Child("nodeName"), *name, subdomain(*name)...)
		}
	}
	if selector != nil {
		set = append(set, "`nodeSelector`")
		c.nodeSelector(at.Child("nodeSelector"), selector)
	}
	return c.yes(at.Child("allNodes"), all, "`allNodes`", set)
}

// yes checks a flag that is true or left out.
func (c *check) yes(at *field.Path, flag *bool, name string, set []string) []string {
	if flag == nil {
		return set
	}
	if !*flag {
		c.invalid(at, false, "must be either unset or set to true")
		return set
	}
	return append(set, name)
}

func list(set []string) string { return fmt.Sprintf("{%s}", strings.Join(set, ", ")) }
