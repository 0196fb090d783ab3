package api

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

func ingress() *Kind {
	return &Kind{
		Group: "networking.k8s.io", Kind: "Ingress", Plural: "ingresses", Singular: "ingress", ShortNames: []string{"ing"}, Namespaced: true,
		Versions: []Version{typed[networkingv1.Ingress, networkingv1.IngressList]("networking.k8s.io", "v1")},
		Prefix:   "/registry/ingress",
		Strategy: Strategy{
			PrepareCreate: created(func(i *networkingv1.Ingress) { i.Status = networkingv1.IngressStatus{} }),
			PrepareUpdate: updated(func(i, old *networkingv1.Ingress) { i.Status = old.Status },
				func(i *networkingv1.Ingress) any { return i.Spec }),
			Validate:                 one(validateIngress),
			ValidateUpdate:           pair(func(i, _ *networkingv1.Ingress) fieldErrors { return validateIngress(i) }),
			Warnings:                 pair(ingressWarnings),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{status(func(to, from *networkingv1.Ingress) { to.Status = from.Status }, nil)},
		Columns: []Column{
			str("Class", "class of the controller that serves it", func(i *networkingv1.Ingress) string {
				return orNone(deref(i.Spec.IngressClassName))
			}),
			str("Hosts", "host names of its rules", ingressHosts),
			str("Address", "where it is reached", ingressAddress),
			str("Ports", "ports it serves", func(i *networkingv1.Ingress) string {
				if len(i.Spec.TLS) > 0 {
					return "80, 443"
				}
				return "80"
			}),
			age(),
		},
	}
}

func ingressHosts(i *networkingv1.Ingress) string {
	var hosts []string
	for n, r := range i.Spec.Rules {
		if len(hosts) == 3 {
			return fmt.Sprintf("%s + %d more...", strings.Join(hosts, ","), len(i.Spec.Rules)-n)
		}
		if r.Host != "" {
			hosts = append(hosts, r.Host)
		}
	}
	if len(hosts) == 0 {
		return "*"
	}
	return strings.Join(hosts, ",")
}

func ingressAddress(i *networkingv1.Ingress) string {
	var out []string
	for _, a := range i.Status.LoadBalancer.Ingress {
		if a.IP != "" {
			out = append(out, a.IP)
		} else if a.Hostname != "" {
			out = append(out, a.Hostname)
		}
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ",")
}
