package api

import (
	networkingv1 "k8s.io/api/networking/v1"
)

func ingressClass() *Kind {
	return &Kind{
		Group: "networking.k8s.io", Kind: "IngressClass", Plural: "ingressclasses", Singular: "ingressclass",
		Versions: []Version{typed[networkingv1.IngressClass, networkingv1.IngressClassList]("networking.k8s.io", "v1")},
		Prefix:   "/registry/ingressclasses",
		Strategy: Strategy{
			Default: do(func(c *networkingv1.IngressClass) {
				if c.Spec.Parameters != nil {
					unset(&c.Spec.Parameters.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
				}
			}),
			PrepareCreate:            created[*networkingv1.IngressClass](nil),
			PrepareUpdate:            updated(nil, func(c *networkingv1.IngressClass) any { return c.Spec }),
			Validate:                 one(validateIngressClass),
			ValidateUpdate:           pair(validateIngressClassUpdate),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{
			nameColumn(networkingv1.AnnotationIsDefaultIngressClass),
			str("Controller", "who serves its ingresses", func(c *networkingv1.IngressClass) string { return c.Spec.Controller }),
			str("Parameters", "object with the controller's settings", func(c *networkingv1.IngressClass) string {
				p := c.Spec.Parameters
				if p == nil {
					return "<none>"
				}
				if p.APIGroup != nil {
					return p.Kind + "." + *p.APIGroup + "/" + p.Name
				}
				return p.Kind + "/" + p.Name
			}),
			age(),
		},
	}
}
