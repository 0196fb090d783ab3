package api

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

func apiService() *Kind {
	type service = *apiregistrationv1.APIService
	return &Kind{
		Group: "apiregistration.k8s.io", Kind: "APIService", Plural: "apiservices", Singular: "apiservice",
		Categories: []string{"api-extensions"},
		Versions:   []Version{typed[apiregistrationv1.APIService, apiregistrationv1.APIServiceList]("apiregistration.k8s.io", "v1")},
		Prefix:     "/registry/apiregistration.k8s.io/apiservices",
		Strategy: Strategy{
			Default: do(func(s service) {
				if s.Spec.Service != nil {
					unset(&s.Spec.Service.Port, 443)
				}
			}),
			PrepareCreate: do(func(s service) {
				s.Status = apiregistrationv1.APIServiceStatus{}
				if s.Spec.Service == nil {
					s.Status.Conditions = []apiregistrationv1.APIServiceCondition{LocalAPIService(s.CreationTimestamp)}
				}
			}),
			PrepareUpdate:  doPair(func(s, old service) { s.Status = old.Status }),
			Validate:       one(validateAPIService),
			ValidateUpdate: pair(func(s, _ service) fieldErrors { return validateAPIService(s) }),
			ValidateName:   func(name string, _ bool) []string { return content.IsPathSegmentName(name) },
		},
		Subresources: []Subresource{statusAlone(func(to, from service) { to.Status = from.Status }, validateAPIServiceStatus)},
		Columns: []Column{
			str("Service", "who serves the version", func(s service) string {
				if s.Spec.Service == nil {
					return "Local"
				}
				return s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
			}),
			str("Available", "whether it can be asked", apiServiceState),
			age(),
		},
	}
}

// LocalAPIService is the condition of an APIService that this server serves itself.
func LocalAPIService(now metav1.Time) apiregistrationv1.APIServiceCondition {
	return apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue,
		LastTransitionTime: now, Reason: "Local", Message: "Local APIServices are always available"}
}

func apiServiceState(s *apiregistrationv1.APIService) string {
	for _, c := range s.Status.Conditions {
		if c.Type != apiregistrationv1.Available {
			continue
		}
		if c.Status != apiregistrationv1.ConditionTrue && c.Reason != "" {
			return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
		}
		return string(c.Status)
	}
	return "Unknown"
}

func validateAPIService(s *apiregistrationv1.APIService) fieldErrors {
	c, spec := &check{}, at("spec")
	if want := s.Spec.Version + "." + s.Spec.Group; s.Name != want && len(content.IsPathSegmentName(s.Name)) == 0 {
		c.invalid(at("metadata", "name"), s.Name, fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", want))
	}
	if s.Spec.Group == "" && s.Spec.Version != "v1" {
		c.required(spec.Child("group"), "only v1 may have an empty group and it better be legacy kube")
	}
	c.nameIfSet(spec.Child("group"), s.Spec.Group, subdomain)
	c.invalid(spec.Child("version"), s.Spec.Version, validation.IsDNS1035Label(s.Spec.Version)...)
	if n := s.Spec.GroupPriorityMinimum; n <= 0 || n > 20000 {
		c.invalid(spec.Child("groupPriorityMinimum"), n, "must be positive and less than 20000")
	}
	if n := s.Spec.VersionPriority; n <= 0 || n > 1000 {
		c.invalid(spec.Child("versionPriority"), n, "must be positive and less than 1000")
	}
	c.apiServiceBackend(spec, &s.Spec)
	return c.errs
}

func (c *check) apiServiceBackend(spec *field.Path, s *apiregistrationv1.APIServiceSpec) {
	if s.Service == nil {
		if len(s.CABundle) > 0 {
			c.invalid(spec.Child("caBundle"), fmt.Sprintf("%d bytes", len(s.CABundle)), "local APIServices may not have a caBundle")
		}
		if s.InsecureSkipTLSVerify {
			c.invalid(spec.Child("insecureSkipTLSVerify"), true, "local APIServices may not have insecureSkipTLSVerify")
		}
		return
	}
	c.needs(spec.Child("service", "namespace"), s.Service.Namespace)
	c.needs(spec.Child("service", "name"), s.Service.Name)
	port := deref(s.Service.Port)
	if wrong := validation.IsValidPortNum(int(port)); len(wrong) > 0 {
		c.invalid(spec.Child("service", "port"), port, "port is not valid: "+strings.Join(wrong, ", "))
	}
	if s.InsecureSkipTLSVerify && len(s.CABundle) > 0 {
		c.invalid(spec.Child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present")
	}
}

func validateAPIServiceStatus(s, _ *apiregistrationv1.APIService) fieldErrors {
	c := &check{}
	for i, cond := range s.Status.Conditions {
		switch cond.Status {
		case apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown:
		default:
			c.add(field.NotSupported(at("status", "conditions").Index(i).Child("status"), cond.Status,
				[]apiregistrationv1.ConditionStatus{apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown}))
		}
	}
	return c.errs
}
