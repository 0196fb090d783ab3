package api

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func podDisruptionBudget() *Kind {
	amount := func(v *intstr.IntOrString) string {
		if v == nil {
			return "N/A"
		}
		return v.String()
	}
	return &Kind{
		Group: "policy", Kind: "PodDisruptionBudget", Plural: "poddisruptionbudgets", Singular: "poddisruptionbudget",
		ShortNames: []string{"pdb"}, Namespaced: true,
		Versions: []Version{typed[policyv1.PodDisruptionBudget, policyv1.PodDisruptionBudgetList]("policy", "v1")},
		Prefix:   "/registry/poddisruptionbudgets",
		Strategy: Strategy{
			PrepareCreate: created(func(b *policyv1.PodDisruptionBudget) { b.Status = policyv1.PodDisruptionBudgetStatus{} }),
			PrepareUpdate: updated(func(b, old *policyv1.PodDisruptionBudget) { b.Status = old.Status },
				func(b *policyv1.PodDisruptionBudget) any { return b.Spec }),
			Validate:       one(validatePodDisruptionBudget),
			ValidateUpdate: pair(func(b, _ *policyv1.PodDisruptionBudget) fieldErrors { return validatePodDisruptionBudget(b) }),
		},
		Subresources: []Subresource{status(func(to, from *policyv1.PodDisruptionBudget) { to.Status = from.Status }, validatePodDisruptionBudgetStatus)},
		Columns: []Column{
			str("Min Available", "pods that must stay", func(b *policyv1.PodDisruptionBudget) string { return amount(b.Spec.MinAvailable) }),
			str("Max Unavailable", "pods that may go", func(b *policyv1.PodDisruptionBudget) string { return amount(b.Spec.MaxUnavailable) }),
			num("Allowed Disruptions", "pods that may go now", func(b *policyv1.PodDisruptionBudget) int32 { return b.Status.DisruptionsAllowed }),
			age(),
		},
	}
}

func validatePodDisruptionBudget(b *policyv1.PodDisruptionBudget) fieldErrors {
	c, spec, s := &check{}, at("spec"), &b.Spec
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		c.invalid(spec, *s, "minAvailable and maxUnavailable cannot be both set")
	}
	c.amount(spec.Child("minAvailable"), s.MinAvailable)
	c.atMost100Percent(spec.Child("minAvailable"), s.MinAvailable)
	c.amount(spec.Child("maxUnavailable"), s.MaxUnavailable)
	c.atMost100Percent(spec.Child("maxUnavailable"), s.MaxUnavailable)
	if s.Selector != nil {
		c.selector(spec.Child("selector"), s.Selector)
	}
	if p := s.UnhealthyPodEvictionPolicy; p != nil {
		oneOf(c, spec.Child("unhealthyPodEvictionPolicy"), *p, policyv1.AlwaysAllow, policyv1.IfHealthyBudget)
	}
	return c.errs
}

func validatePodDisruptionBudgetStatus(b, _ *policyv1.PodDisruptionBudget) fieldErrors {
	c, s := &check{}, b.Status
	c.counts(at("status"), map[string]*int32{
		"disruptionsAllowed": &s.DisruptionsAllowed, "currentHealthy": &s.CurrentHealthy,
		"desiredHealthy": &s.DesiredHealthy, "expectedPods": &s.ExpectedPods,
	})
	return c.errs
}
