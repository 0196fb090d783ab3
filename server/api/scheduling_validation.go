package api

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *check) labelName(at *field.Path, s string) {
	c.add(metavalidation.ValidateLabelName(s, at)...)
}

// tolerations; effect and operator have defaults that are not written.
func (c *check) tolerations(at *field.Path, ts []corev1.Toleration) {
	for i, t := range ts {
		path := at.Index(i)
		if t.Key != "" {
			c.labelName(path.Child("key"), t.Key)
		} else if t.Operator != corev1.TolerationOpExists {
			c.invalid(path.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			c.invalid(path.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			if msgs := validation.IsValidLabelValue(t.Value); len(msgs) > 0 {
				c.invalid(path.Child("operator"), t.Value, strings.Join(msgs, ";"))
			}
		case corev1.TolerationOpExists:
			if t.Value != "" {
				c.invalid(path.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'")
			}
		default:
			oneOfIfSet(c, path.Child("operator"), t.Operator, corev1.TolerationOpEqual, corev1.TolerationOpExists)
		}
		oneOfIfSet(c, path.Child("effect"), t.Effect, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
	}
}

func (c *check) taints(at *field.Path, ts []corev1.Taint) {
	seen := map[[2]string]bool{}
	for i, t := range ts {
		path := at.Index(i)
		c.labelName(path.Child("key"), t.Key)
		if msgs := validation.IsValidLabelValue(t.Value); len(msgs) > 0 {
			c.invalid(path.Child("value"), t.Value, strings.Join(msgs, ";"))
		}
		oneOf(c, path.Child("effect"), t.Effect, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
		id := [2]string{t.Key, string(t.Effect)}
		if seen[id] {
			c.add(field.Duplicate(path, t))
		}
		seen[id] = true
	}
}

func (c *check) affinity(at *field.Path, a *corev1.Affinity) {
	if a == nil {
		return
	}
	if n := a.NodeAffinity; n != nil {
		path := at.Child("nodeAffinity")
		if r := n.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			c.nodeSelector(path.Child("requiredDuringSchedulingIgnoredDuringExecution"), r)
		}
		for i, p := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			term := path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
			c.weight(term, p.Weight)
			c.nodeSelectorTerm(term.Child("preference"), p.Preference)
		}
	}
	if p := a.PodAffinity; p != nil {
		c.podTerms(at.Child("podAffinity"), p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		c.podTerms(at.Child("podAntiAffinity"), p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (c *check) weight(at *field.Path, w int32) {
	if w < 1 || w > 100 {
		c.invalid(at.Child("weight"), w, "must be in the range 1-100")
	}
}

func (c *check) podTerms(at *field.Path, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
	for i := range required {
		c.podTerm(at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i), &required[i])
	}
	for i := range preferred {
		path := at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
		c.weight(path, preferred[i].Weight)
		c.podTerm(path.Child("podAffinityTerm"), &preferred[i].PodAffinityTerm)
	}
}

func (c *check) podTerm(at *field.Path, t *corev1.PodAffinityTerm) {
	if t.LabelSelector != nil {
		c.selector(at.Child("labelSelector"), t.LabelSelector)
	}
	if t.NamespaceSelector != nil {
		c.selector(at.Child("namespaceSelector"), t.NamespaceSelector)
	}
	for _, ns := range t.Namespaces {
		c.invalid(at.Child("namespace"), ns, validation.IsDNS1123Label(ns)...)
	}
	c.matchLabelKeys(at.Child("matchLabelKeys"), t.MatchLabelKeys, t.LabelSelector)
	c.matchLabelKeys(at.Child("mismatchLabelKeys"), t.MismatchLabelKeys, t.LabelSelector)
	if t.TopologyKey == "" {
		c.required(at.Child("topologyKey"), "can not be empty")
		return
	}
	c.labelName(at.Child("topologyKey"), t.TopologyKey)
}

func (c *check) matchLabelKeys(at *field.Path, keys []string, sel *metav1.LabelSelector) {
	if len(keys) > 0 && sel == nil {
		c.forbidden(at, "must not be specified when labelSelector is not set")
	}
	for i, key := range keys {
		c.labelName(at.Index(i), key)
	}
}

func (c *check) nodeSelector(at *field.Path, s *corev1.NodeSelector) {
	if len(s.NodeSelectorTerms) == 0 {
		c.required(at.Child("nodeSelectorTerms"), "must have at least one node selector term")
	}
	for i, t := range s.NodeSelectorTerms {
		c.nodeSelectorTerm(at.Child("nodeSelectorTerms").Index(i), t)
	}
}

func (c *check) nodeSelectorTerm(at *field.Path, t corev1.NodeSelectorTerm) {
	for i, r := range t.MatchExpressions {
		path := at.Child("matchExpressions").Index(i)
		values := path.Child("values")
		switch r.Operator {
		case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
			if len(r.Values) == 0 {
				c.required(values, "must be specified when `operator` is 'In' or 'NotIn'")
			}
			for j, v := range r.Values {
				c.invalid(values.Index(j), v, validation.IsValidLabelValue(v)...)
			}
		case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
			if len(r.Values) > 0 {
				c.forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
			}
		case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
			if len(r.Values) != 1 {
				c.required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'")
			} else if _, err := strconv.ParseInt(r.Values[0], 10, 64); err != nil {
				c.invalid(values.Index(0), r.Values[0], "must be an integer")
			}
		default:
			c.invalid(path.Child("operator"), r.Operator, "not a valid selector operator")
		}
		c.labelName(path.Child("key"), r.Key)
	}
	for i, r := range t.MatchFields {
		path := at.Child("matchFields").Index(i)
		if r.Operator != corev1.NodeSelectorOpIn && r.Operator != corev1.NodeSelectorOpNotIn {
			c.invalid(path.Child("operator"), r.Operator, "not a valid selector operator")
		} else if len(r.Values) != 1 {
			c.required(path.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
		}
		if r.Key != metav1.ObjectNameField {
			c.invalid(path.Child("key"), r.Key, "not a valid field selector key")
			continue
		}
		for j, v := range r.Values {
			c.invalid(path.Child("values").Index(j), v, subdomain(v)...)
		}
	}
}

func (c *check) topologySpread(at *field.Path, cs []corev1.TopologySpreadConstraint) {
	seen := map[[2]string]bool{}
	for i, t := range cs {
		path := at.Index(i)
		if t.MaxSkew <= 0 {
			c.invalid(path.Child("maxSkew"), t.MaxSkew, "must be greater than zero")
		}
		c.needs(path.Child("topologyKey"), t.TopologyKey)
		if t.TopologyKey != "" {
			c.labelName(path.Child("topologyKey"), t.TopologyKey)
		}
		if t.WhenUnsatisfiable == "" {
			c.add(field.NotSupported(path.Child("whenUnsatisfiable"), t.WhenUnsatisfiable,
				[]corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}))
		}
		oneOfIfSet(c, path.Child("whenUnsatisfiable"), t.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)
		id := [2]string{t.TopologyKey, string(t.WhenUnsatisfiable)}
		if seen[id] {
			c.add(field.Duplicate(path.Child("{topologyKey, whenUnsatisfiable}"), "{"+id[0]+", "+id[1]+"}"))
		}
		seen[id] = true
		if t.MinDomains != nil {
			if *t.MinDomains <= 0 {
				c.invalid(path.Child("minDomains"), *t.MinDomains, "must be greater than zero")
			}
			if t.WhenUnsatisfiable != corev1.DoNotSchedule {
				c.invalid(path.Child("minDomains"), *t.MinDomains, "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not "+string(t.WhenUnsatisfiable))
			}
		}
		for _, p := range []*corev1.NodeInclusionPolicy{t.NodeAffinityPolicy, t.NodeTaintsPolicy} {
			if p != nil {
				oneOf(c, path, *p, corev1.NodeInclusionPolicyIgnore, corev1.NodeInclusionPolicyHonor)
			}
		}
		if t.LabelSelector != nil {
			c.selector(path.Child("labelSelector"), t.LabelSelector)
		}
		c.matchLabelKeys(path.Child("matchLabelKeys"), t.MatchLabelKeys, t.LabelSelector)
	}
}
