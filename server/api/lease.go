package api

import (
	coordinationv1 "k8s.io/api/coordination/v1"
)

func lease() *Kind {
	return &Kind{
		Group: "coordination.k8s.io", Kind: "Lease", Plural: "leases", Singular: "lease", Namespaced: true,
		Versions: []Version{typed[coordinationv1.Lease, coordinationv1.LeaseList]("coordination.k8s.io", "v1")},
		Prefix:   "/registry/leases",
		Strategy: Strategy{
			Validate:            one(validateLease),
			ValidateUpdate:      pair(validateLeaseUpdate),
			AllowCreateOnUpdate: true,
		},
		Columns: []Column{
			str("Holder", "who holds it", func(l *coordinationv1.Lease) string { return deref(l.Spec.HolderIdentity) }),
			age(),
		},
	}
}

func validateLease(l *coordinationv1.Lease) fieldErrors {
	c := &check{}
	if d := l.Spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		c.invalid(at("spec", "leaseDurationSeconds"), *d, "must be greater than 0")
	}
	c.counts(at("spec"), map[string]*int32{"leaseTransitions": l.Spec.LeaseTransitions})
	return c.errs
}

func validateLeaseUpdate(l, _ *coordinationv1.Lease) fieldErrors { return validateLease(l) }
