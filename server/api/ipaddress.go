package api

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

// IPAddressManager is the value of the label ipaddress.kubernetes.io/managed-by on what stands for a Service's address.
const IPAddressManager = "ipallocator.k8s.io"

// IndexIPAddressService is the index of IPAddresses on the Service ("namespace/name") that has them.
const IndexIPAddressService = "spec.parentRef.service"

func ipAddress() *Kind {
	return &Kind{
		Group: "networking.k8s.io", Kind: "IPAddress", Plural: "ipaddresses", Singular: "ipaddress", ShortNames: []string{"ip"},
		Versions: []Version{typed[networkingv1.IPAddress, networkingv1.IPAddressList]("networking.k8s.io", "v1")},
		Prefix:   "/registry/ipaddresses",
		Strategy: Strategy{
			Validate:                 one(validateIPAddress),
			ValidateUpdate:           pair(validateIPAddressUpdate),
			ValidateName:             ipAddressName,
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{str("ParentRef", "who has the address", parentOf)},
		Indexes: []Index{{Name: IndexIPAddressService, Values: ServiceOfIPAddress}},
	}
}

// ipAddressName: the name is the address, in the one way in which it is written.
func ipAddressName(name string, _ bool) (wrong []string) {
	for _, err := range validation.IsValidIP(nil, name) {
		wrong = append(wrong, err.Detail)
	}
	return wrong
}

// ServiceOfIPAddress returns the Service ("namespace/name") that an IPAddress belongs to; none if it is not a Service's.
func ServiceOfIPAddress(obj Object) []string {
	if a, ok := obj.(*networkingv1.IPAddress); ok && a.Spec.ParentRef != nil && a.Spec.ParentRef.Group == "" && a.Spec.ParentRef.Resource == "services" {
		return []string{a.Spec.ParentRef.Namespace + "/" + a.Spec.ParentRef.Name}
	}
	return nil
}

func parentOf(a *networkingv1.IPAddress) string {
	p := a.Spec.ParentRef
	if p == nil {
		return "<none>"
	}
	s := strings.ToLower(schema.GroupResource{Group: p.Group, Resource: p.Resource}.String())
	if p.Namespace != "" {
		s += "/" + p.Namespace
	}
	return s + "/" + p.Name
}

func validateIPAddress(a *networkingv1.IPAddress) fieldErrors {
	c, path, p := &check{}, at("spec", "parentRef"), a.Spec.ParentRef
	if p == nil {
		c.required(path, "")
		return c.errs
	}
	c.nameIfSet(path.Child("group"), p.Group, subdomain)
	c.name(path.Child("resource"), p.Resource, content.IsPathSegmentName)
	c.name(path.Child("name"), p.Name, content.IsPathSegmentName)
	c.nameIfSet(path.Child("namespace"), p.Namespace, content.IsPathSegmentName)
	return c.errs
}

func validateIPAddressUpdate(a, old *networkingv1.IPAddress) fieldErrors {
	c := &check{errs: validateIPAddress(a)}
	c.immutable(at("spec", "parentRef"), a.Spec.ParentRef, old.Spec.ParentRef)
	return c.errs
}
