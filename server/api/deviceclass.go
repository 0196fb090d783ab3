package api

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func deviceClass() *Kind {
	type class = *resourcev1.DeviceClass
	return &Kind{
		Group: "resource.k8s.io", Kind: "DeviceClass", Plural: "deviceclasses", Singular: "deviceclass",
		Versions: []Version{typed[resourcev1.DeviceClass, resourcev1.DeviceClassList]("resource.k8s.io", "v1")},
		Prefix:   "/registry/deviceclasses",
		Strategy: Strategy{
			PrepareCreate:            created[class](nil),
			PrepareUpdate:            updated(nil, func(d class) any { return d.Spec }),
			Validate:                 one(func(d class) fieldErrors { return validateDeviceClassUpdate(d, nil) }),
			ValidateUpdate:           pair(validateDeviceClassUpdate),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{age()},
	}
}

// validateDeviceClassUpdate does not look again at selectors that have not changed. old may be nil.
func validateDeviceClassUpdate(d, old *resourcev1.DeviceClass) fieldErrors {
	c, spec, s := &check{}, at("spec"), &d.Spec
	if old == nil || !apiequality.Semantic.DeepEqual(s.Selectors, old.Spec.Selectors) {
		c.deviceSelectors(spec.Child("selectors"), s.Selectors)
	}
	each(c, spec.Child("config"), s.Config, resourcev1.DeviceConfigMaxSize, func(at *field.Path, cfg *resourcev1.DeviceClassConfiguration) {
		c.deviceConfiguration(at, &cfg.DeviceConfiguration)
	})
	if name := s.ExtendedResourceName; name != nil && !extendedResource(*name) {
		c.invalid(spec.Child("extendedResourceName"), *name, "must be a valid extended resource name")
	}
	return c.errs
}

// extendedResource: a name with a domain that is not Kubernetes' own, which a quota can also count.
func extendedResource(name string) bool {
	domain, _, ok := strings.Cut(name, "/")
	if !ok || domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io") ||
		strings.HasPrefix(name, corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+name)) == 0
}
