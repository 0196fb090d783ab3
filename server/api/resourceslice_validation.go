package api

import (
	"fmt"
	"regexp"

	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateResourceSliceUpdate checks a new slice when old is nil.
func validateResourceSliceUpdate(r, old *resourcev1.ResourceSlice) fieldErrors {
	c, spec, s := &check{}, at("spec"), &r.Spec
	c.driverName(spec.Child("driver"), s.Driver)
	c.resourcePool(spec.Child("pool"), &s.Pool)
	before := map[string]*resourcev1.Device{}
	if old != nil {
		c.immutable(spec.Child("pool", "name"), s.Pool.Name, old.Spec.Pool.Name)
		c.immutable(spec.Child("driver"), s.Driver, old.Spec.Driver)
		c.immutable(spec.Child("nodeName"), s.NodeName, old.Spec.NodeName)
		for i := range old.Spec.Devices {
			before[old.Spec.Devices[i].Name] = &old.Spec.Devices[i]
		}
	}
	c.slicePlace(spec, s)
	if s.SharedCounters != nil && s.Devices != nil {
		c.invalid(spec, "", "only one of `sharedCounters` or `devices` is allowed")
	}
	perDevice := deref(s.PerDeviceNodeSelection)
	eachOnce(c, spec.Child("devices"), s.Devices, mostDevices(s), func(d *resourcev1.Device) string { return d.Name },
		func(at *field.Path, d *resourcev1.Device) { c.device(at, d, before[d.Name], perDevice) })
	eachOnce(c, spec.Child("sharedCounters"), s.SharedCounters, resourcev1.ResourceSliceMaxCounterSets,
		func(s *resourcev1.CounterSet) string { return s.Name }, func(at *field.Path, set *resourcev1.CounterSet) {
			c.name(at.Child("name"), set.Name, validation.IsDNS1123Label)
			c.counters(at.Child("counters"), set.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet)
		})
	return c.errs
}

// mostDevices: a slice whose devices say more holds fewer of them.
func mostDevices(s *resourcev1.ResourceSliceSpec) int {
	for i := range s.Devices {
		if len(s.Devices[i].Taints)+len(s.Devices[i].ConsumesCounters) > 0 {
			return resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
		}
	}
	return resourcev1.ResourceSliceMaxDevices
}

func (c *check) resourcePool(at *field.Path, p *resourcev1.ResourcePool) {
	c.poolName(at.Child("name"), p.Name)
	if p.ResourceSliceCount <= 0 {
		c.invalid(at.Child("resourceSliceCount"), p.ResourceSliceCount, "must be greater than zero")
	}
	if p.Generation < 0 {
		c.invalid(at.Child("generation"), p.Generation, "must be greater than or equal to zero")
	}
}

// slicePlace checks which nodes reach the devices.
func (c *check) slicePlace(spec *field.Path, s *resourcev1.ResourceSliceSpec) {
	set := c.oneNode(spec, s.NodeName, s.NodeSelector, s.AllNodes, "must be either unset or set to a non-empty string")
	if n := s.NodeSelector; n != nil && len(n.NodeSelectorTerms) != 1 {
		c.invalid(spec.Child("nodeSelector", "nodeSelectorTerms"), n.NodeSelectorTerms, "must have exactly one node selector term")
	}
	set = c.yes(spec.Child("perDeviceNodeSelection"), s.PerDeviceNodeSelection, "`perDeviceNodeSelection`", set)
	const want = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	switch {
	case len(set) == 0:
		c.required(spec, want)
	case len(set) > 1:
		c.invalid(spec, list(set), want+", but multiple fields are set")
	}
}

func (c *check) counters(at *field.Path, m map[string]resourcev1.Counter, most int) {
	switch {
	case len(m) == 0:
		c.required(at, "")
	case len(m) > most:
		c.add(field.TooMany(at, len(m), most))
	default:
		for _, name := range sortedKeys(m) {
			c.dnsLabel(at, name)
		}
	}
}

func (c *check) device(at *field.Path, d, old *resourcev1.Device, perDevice bool) {
	c.dnsLabel(at.Child("name"), d.Name)
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		c.invalid(at, n, fmt.Sprintf("the total number of attributes and capacities must not exceed %d", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice))
	}
	for _, name := range sortedKeys(d.Attributes) {
		c.qualifiedName(at.Child("attributes"), string(name))
		c.deviceAttribute(at.Child("attributes").Key(string(name)), d.Attributes[name])
	}
	if old == nil || !apiequality.Semantic.DeepEqual(old.Capacity, d.Capacity) {
		c.deviceCapacity(at.Child("capacity"), d)
	}
	if old == nil || !apiequality.Semantic.DeepEqual(old.Taints, d.Taints) {
		each(c, at.Child("taints"), d.Taints, resourcev1.DeviceTaintsMaxLength, func(at *field.Path, t *resourcev1.DeviceTaint) { c.deviceTaint(at, t, nil) })
	}
	eachOnce(c, at.Child("consumesCounters"), d.ConsumesCounters, resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice,
		func(k *resourcev1.DeviceCounterConsumption) string { return k.CounterSet }, func(at *field.Path, k *resourcev1.DeviceCounterConsumption) {
			c.name(at.Child("counterSet"), k.CounterSet, validation.IsDNS1123Label)
			c.counters(at.Child("counters"), k.Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption)
		})
	c.devicePlace(at, d, perDevice)
	c.deviceBinding(at, d.BindingConditions, d.BindingFailureConditions)
}

func (c *check) devicePlace(at *field.Path, d *resourcev1.Device, perDevice bool) {
	if !perDevice {
		if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
			c.invalid(at, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")
		}
		return
	}
	const want = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	switch set := c.oneNode(at, d.NodeName, d.NodeSelector, d.AllNodes, "must not be empty"); {
	case len(set) == 0:
		c.required(at, want)
	case len(set) > 1:
		c.invalid(at, list(set), want)
	}
}

// semver is semantic versioning 2.0.0: three numbers, then what comes before the release, then what built it.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

func (c *check) deviceAttribute(at *field.Path, a resourcev1.DeviceAttribute) {
	n := 0
	text := func(name string, s *string) {
		if s == nil {
			return
		}
		n++
		if name == "version" && !semver.MatchString(*s) {
			c.invalid(at.Child(name), *s, "must be a string compatible with semver.org spec 2.0.0")
		}
		if len(*s) > resourcev1.DeviceAttributeMaxValueLength {
			c.add(field.TooLong(at.Child(name), "", resourcev1.DeviceAttributeMaxValueLength))
		}
	}
	text("string", a.StringValue)
	text("version", a.VersionValue)
	for _, set := range []bool{a.IntValue != nil, a.BoolValue != nil} {
		if set {
			n++
		}
	}
	switch {
	case n == 0:
		c.invalid(at, "", "exactly one value must be specified")
	case n > 1:
		c.invalid(at, a, "exactly one value must be specified")
	}
}

func (c *check) deviceCapacity(at *field.Path, d *resourcev1.Device) {
	for _, name := range sortedKeys(d.Capacity) {
		c.qualifiedName(at, string(name))
		have, path := d.Capacity[name], at.Key(string(name)).Child("requestPolicy")
		p := have.RequestPolicy
		switch {
		case p == nil:
		case !deref(d.AllowMultipleAllocations):
			c.forbidden(path, "allowMultipleAllocations must be true")
		case len(p.ValidValues) > 0 && p.ValidRange != nil:
			c.forbidden(path, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)
		case len(p.ValidValues) > 0 && p.Default == nil:
			c.required(path.Child("default"), "required when validValues is defined")
		case len(p.ValidValues) > 0:
			c.validValues(path.Child("validValues"), p, have.Value)
		case p.ValidRange != nil && p.Default == nil:
			c.required(path.Child("default"), "required when validRange is defined")
		case p.ValidRange != nil:
			c.validRange(path.Child("validRange"), *p.Default, have.Value, p.ValidRange)
		}
	}
}

const maxValidValues = 10

func (c *check) validValues(at *field.Path, p *resourcev1.CapacityRequestPolicy, capacity resource.Quantity) {
	found := false
	for i := 1; i < len(p.ValidValues); i++ {
		if p.ValidValues[i-1].Cmp(p.ValidValues[i]) > 0 {
			c.invalid(at.Index(i), p.ValidValues[i].String(), "values must be sorted in ascending order")
		}
	}
	eachOnce(c, at, p.ValidValues, maxValidValues, func(q *resource.Quantity) string { d := q.DeepCopy(); return d.AsDec().String() }, func(at *field.Path, q *resource.Quantity) {
		if q.Cmp(capacity) > 0 {
			c.invalid(at, q.String(), "option is larger than capacity value: "+capacity.String())
		}
		found = found || q.Cmp(*p.Default) == 0
	})
	if !found {
		c.invalid(at, p.Default.String(), "default value is not valid according to the requestPolicy")
	}
}

func (c *check) validRange(at *field.Path, def, capacity resource.Quantity, r *resourcev1.CapacityRequestPolicyRange) {
	if r.Min == nil {
		c.required(at.Child("min"), "required when validRange is defined")
		return
	}
	wrong := func(name string, value resource.Quantity, relation string, other resource.Quantity) {
		c.invalid(at.Child(name), value.String(), relation+": "+other.String())
	}
	if r.Min.Cmp(capacity) > 0 {
		wrong("min", *r.Min, "min is larger than capacity value", capacity)
	}
	if def.Cmp(*r.Min) < 0 {
		wrong("default", def, "default is less than min", *r.Min)
	}
	if r.Max != nil {
		if r.Min.Cmp(*r.Max) > 0 {
			wrong("max", *r.Min, "min is larger than max", *r.Max)
		}
		if r.Max.Cmp(capacity) > 0 {
			wrong("max", *r.Max, "max is larger than capacity value", capacity)
		}
		if def.Cmp(*r.Max) > 0 {
			wrong("default", def, "default is more than max", *r.Max)
		}
	}
	c.rangeStep(at, def, capacity, r)
}

// rangeStep: default and max are min and whole steps.
func (c *check) rangeStep(at *field.Path, def, capacity resource.Quantity, r *resourcev1.CapacityRequestPolicyRange) {
	if r.Step == nil {
		return
	}
	if r.Step.Sign() <= 0 {
		c.invalid(at.Child("step"), r.Step.String(), "must be greater than zero")
		return
	}
	first := r.Min.DeepCopy()
	first.Add(*r.Step)
	if first.Cmp(capacity) > 0 {
		c.invalid(at.Child("step"), r.Step.String(), fmt.Sprintf("one step %s is larger than capacity value: %s", first.String(), capacity.String()))
	}
	step := r.Step.MilliValue()
	for _, v := range []struct {
		name  string
		value *resource.Quantity
	}{{"max", r.Max}, {"default", &def}} {
		if v.value == nil || step == 0 {
			continue
		}
		if (v.value.MilliValue()-r.Min.MilliValue())%step != 0 {
			c.invalid(at.Child(v.name), v.value.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String()))
		}
	}
}
