package api

import (
	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
)

func resourceClaimTemplate() *Kind {
	type template = *resourcev1.ResourceClaimTemplate
	return &Kind{
		Group: "resource.k8s.io", Kind: "ResourceClaimTemplate", Plural: "resourceclaimtemplates", Singular: "resourceclaimtemplate", Namespaced: true,
		Versions: []Version{typed[resourcev1.ResourceClaimTemplate, resourcev1.ResourceClaimTemplateList]("resource.k8s.io", "v1")},
		Prefix:   "/registry/resourceclaimtemplates",
		Strategy: Strategy{
			Default:                  do(func(t template) { defaultDeviceClaim(&t.Spec.Spec.Devices) }),
			PrepareCreate:            do(func(t template) { dropAlphaRequests(&t.Spec.Spec.Devices) }),
			PrepareUpdate:            doPair(func(t, _ template) { dropAlphaRequests(&t.Spec.Spec.Devices) }),
			Validate:                 one(validateResourceClaimTemplate),
			ValidateUpdate:           pair(validateResourceClaimTemplateUpdate),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{age()},
	}
}

func validateResourceClaimTemplate(t *resourcev1.ResourceClaimTemplate) fieldErrors {
	c, meta := &check{}, at("spec", "metadata")
	c.annotations(meta.Child("annotations"), t.Spec.Annotations)
	c.labels(meta.Child("labels"), t.Spec.Labels)
	c.deviceClaim(at("spec", "spec", "devices"), &t.Spec.Spec.Devices)
	return c.errs
}

func validateResourceClaimTemplateUpdate(t, old *resourcev1.ResourceClaimTemplate) fieldErrors {
	c := &check{errs: validateResourceClaimTemplate(t)}
	c.add(apivalidation.ValidateImmutableField(t.Spec, old.Spec, at("spec"))...)
	return c.errs
}
