package api

import (
	"fmt"
	"net"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

func endpoints() *Kind {
	v1 := typed[corev1.Endpoints, corev1.EndpointsList]("", "v1")
	v1.Deprecation = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
	return &Kind{
		Kind: "Endpoints", Plural: "endpoints", Singular: "endpoints", ShortNames: []string{"ep"}, Namespaced: true,
		Versions: []Version{v1},
		Prefix:   "/registry/services/endpoints",
		Strategy: Strategy{
			Default: do(func(e *corev1.Endpoints) {
				for i := range e.Subsets {
					for j := range e.Subsets[i].Ports {
						blank(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
					}
				}
			}),
			Validate:                 one(validateEndpoints),
			ValidateUpdate:           pair(func(e, _ *corev1.Endpoints) fieldErrors { return validateEndpoints(e) }),
			Warnings:                 pair(endpointsWarnings),
			AllowCreateOnUpdate:      true,
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{
			str("Endpoints", "addresses and ports behind the service", func(e *corev1.Endpoints) string {
				return firstFew(endpointList(e), 3)
			}),
			age(),
		},
	}
}

func endpointList(e *corev1.Endpoints) (list []string) {
	for _, s := range e.Subsets {
		for _, p := range s.Ports {
			for _, a := range s.Addresses {
				list = append(list, net.JoinHostPort(a.IP, fmt.Sprint(p.Port)))
			}
		}
		for _, a := range s.Addresses {
			if len(s.Ports) == 0 {
				list = append(list, a.IP)
			}
		}
	}
	return list
}

// firstFew joins the first n of list and counts the rest.
func firstFew(list []string, n int) string {
	if len(list) == 0 {
		return "<none>"
	}
	if len(list) <= n {
		return strings.Join(list, ",")
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(list[:n], ","), len(list)-n)
}
