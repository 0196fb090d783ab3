package api

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func networkPolicy() *Kind {
	return &Kind{
		Group: "networking.k8s.io", Kind: "NetworkPolicy", Plural: "networkpolicies", Singular: "networkpolicy",
		ShortNames: []string{"netpol"}, Namespaced: true,
		Versions: []Version{typed[networkingv1.NetworkPolicy, networkingv1.NetworkPolicyList]("networking.k8s.io", "v1")},
		Prefix:   "/registry/networkpolicies",
		Strategy: Strategy{
			Default:                  do(defaultNetworkPolicy),
			PrepareCreate:            created[*networkingv1.NetworkPolicy](nil),
			PrepareUpdate:            updated(nil, func(p *networkingv1.NetworkPolicy) any { return p.Spec }),
			Validate:                 one(validateNetworkPolicy),
			ValidateUpdate:           pair(func(p, _ *networkingv1.NetworkPolicy) fieldErrors { return validateNetworkPolicy(p) }),
			Warnings:                 pair(networkPolicyWarnings),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{
			str("Pod-Selector", "labels of the pods it is about", func(p *networkingv1.NetworkPolicy) string {
				return metav1.FormatLabelSelector(&p.Spec.PodSelector)
			}),
			age(),
		},
	}
}

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	ports := func(ps []networkingv1.NetworkPolicyPort) {
		for i := range ps {
			unset(&ps[i].Protocol, corev1.ProtocolTCP)
		}
	}
	for i := range p.Spec.Ingress {
		ports(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		ports(p.Spec.Egress[i].Ports)
	}
}
