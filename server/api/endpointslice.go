package api

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func endpointSlice() *Kind {
	return &Kind{
		Group: "discovery.k8s.io", Kind: "EndpointSlice", Plural: "endpointslices", Singular: "endpointslice", Namespaced: true,
		Versions: []Version{typed[discoveryv1.EndpointSlice, discoveryv1.EndpointSliceList]("discovery.k8s.io", "v1")},
		Prefix:   "/registry/endpointslices",
		Strategy: Strategy{
			Default: do(func(s *discoveryv1.EndpointSlice) {
				for i := range s.Ports {
					unset(&s.Ports[i].Name, "")
					unset(&s.Ports[i].Protocol, corev1.ProtocolTCP)
				}
			}),
			PrepareCreate: created[*discoveryv1.EndpointSlice](nil),
			PrepareUpdate: updated(nil, func(s *discoveryv1.EndpointSlice) any {
				return []any{s.Endpoints, s.Ports, s.AddressType, s.Labels}
			}),
			Validate:                 one(validateEndpointSlice),
			ValidateUpdate:           pair(validateEndpointSliceUpdate),
			Warnings:                 pair(endpointSliceWarnings),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{
			str("AddressType", "kind of addresses", func(s *discoveryv1.EndpointSlice) string { return string(s.AddressType) }),
			str("Ports", "ports of every endpoint", func(s *discoveryv1.EndpointSlice) string {
				var list []string
				for _, p := range s.Ports {
					switch {
					case p.Port != nil:
						list = append(list, fmt.Sprint(*p.Port))
					case p.Name != nil:
						list = append(list, *p.Name)
					default:
						list = append(list, "*")
					}
				}
				return firstFewOrUnset(list)
			}),
			str("Endpoints", "addresses of the endpoints", func(s *discoveryv1.EndpointSlice) string {
				var list []string
				for _, e := range s.Endpoints {
					list = append(list, e.Addresses...)
				}
				return firstFewOrUnset(list)
			}),
			age(),
		},
		Indexes: []Index{{Name: discoveryv1.LabelServiceName, Values: one(func(s *discoveryv1.EndpointSlice) []string {
			if svc := s.Labels[discoveryv1.LabelServiceName]; svc != "" {
				return []string{s.Namespace + "/" + svc}
			}
			return nil
		})}},
	}
}

func firstFewOrUnset(list []string) string {
	if len(list) == 0 {
		return "<unset>"
	}
	return firstFew(list, 3)
}
