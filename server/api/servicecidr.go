package api

import (
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

func serviceCIDR() *Kind {
	type cidr = *networkingv1.ServiceCIDR
	return &Kind{
		Group: "networking.k8s.io", Kind: "ServiceCIDR", Plural: "servicecidrs", Singular: "servicecidr",
		Versions: []Version{typed[networkingv1.ServiceCIDR, networkingv1.ServiceCIDRList]("networking.k8s.io", "v1")},
		Prefix:   "/registry/servicecidrs",
		Strategy: Strategy{
			PrepareCreate:            do(func(s cidr) { s.Status = networkingv1.ServiceCIDRStatus{} }),
			PrepareUpdate:            doPair(func(s, old cidr) { s.Status = old.Status }),
			Validate:                 one(validateServiceCIDR),
			ValidateUpdate:           pair(validateServiceCIDRUpdate),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{statusAlone(func(to, from cidr) { to.Status = from.Status }, nil)},
		Columns: []Column{
			str("CIDRs", "ranges that cluster IPs come from", func(s cidr) string { return strings.Join(s.Spec.CIDRs, ",") }),
			age(),
		},
	}
}

func validateServiceCIDR(s *networkingv1.ServiceCIDR) fieldErrors {
	c, path := &check{}, at("spec", "cidrs")
	switch n := len(s.Spec.CIDRs); {
	case n == 0:
		c.required(path, "at least one CIDR required")
		return c.errs
	case n > 2:
		c.invalid(path, s.Spec, "may only hold up to 2 values")
		return c.errs
	}
	var families []bool
	for i, cidr := range s.Spec.CIDRs {
		c.add(validation.IsValidCIDR(path.Index(i), cidr)...)
		if p, err := netip.ParsePrefix(cidr); err == nil {
			families = append(families, p.Addr().Is4())
		}
	}
	if len(families) == 2 && families[0] == families[1] {
		c.invalid(path, s.Spec.CIDRs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
	}
	return c.errs
}

// validateServiceCIDRUpdate: what is there stays; a range of the other family may be added.
func validateServiceCIDRUpdate(s, old *networkingv1.ServiceCIDR) fieldErrors {
	c, path, now, was := &check{}, at("spec", "cidrs"), s.Spec.CIDRs, old.Spec.CIDRs
	if len(now) != len(was) && (len(was) != 1 || len(now) != 2) {
		c.invalid(path, now, "field is immutable")
		return c.errs
	}
	for i := range was {
		if now[i] != was[i] {
			c.invalid(path.Index(i), now[i], "field is immutable")
		}
	}
	if len(now) > len(was) {
		c.add(validateServiceCIDR(s)...)
	}
	return c.errs
}
