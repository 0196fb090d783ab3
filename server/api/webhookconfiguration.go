package api

import (
	"reflect"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const admissionGroup = "admissionregistration.k8s.io"

func mutatingWebhookConfiguration() *Kind {
	type config = *admissionv1.MutatingWebhookConfiguration
	return &Kind{
		Group: admissionGroup, Kind: "MutatingWebhookConfiguration", Plural: "mutatingwebhookconfigurations", Singular: "mutatingwebhookconfiguration",
		Categories: []string{"api-extensions"},
		Versions:   []Version{typed[admissionv1.MutatingWebhookConfiguration, admissionv1.MutatingWebhookConfigurationList](admissionGroup, "v1")},
		Prefix:     "/registry/mutatingwebhookconfigurations",
		Strategy: Strategy{
			Default: do(func(c config) {
				for i := range c.Webhooks {
					defaultWebhook(&c.Webhooks[i])
				}
			}),
			PrepareCreate: created[config](nil),
			PrepareUpdate: doPair(func(c, old config) { bump(c, old, !reflect.DeepEqual(c.Webhooks, old.Webhooks)) }),
			Validate:      one(func(c config) fieldErrors { return validateWebhooks(c.Webhooks, nil) }),
			ValidateUpdate: pair(func(c, old config) fieldErrors {
				return validateWebhooks(c.Webhooks, append([]admissionv1.MutatingWebhook{}, old.Webhooks...))
			}),
			Warnings: pair(func(c, _ config) []string { return webhookWarnings(c.Webhooks) }),
		},
		Columns: []Column{num("Webhooks", "how many it has", func(c config) int { return len(c.Webhooks) }), age()},
	}
}

func validatingWebhookConfiguration() *Kind {
	type config = *admissionv1.ValidatingWebhookConfiguration
	return &Kind{
		Group: admissionGroup, Kind: "ValidatingWebhookConfiguration", Plural: "validatingwebhookconfigurations", Singular: "validatingwebhookconfiguration",
		Categories: []string{"api-extensions"},
		Versions:   []Version{typed[admissionv1.ValidatingWebhookConfiguration, admissionv1.ValidatingWebhookConfigurationList](admissionGroup, "v1")},
		Prefix:     "/registry/validatingwebhookconfigurations",
		Strategy: Strategy{
			Default: do(func(c config) {
				for i := range c.Webhooks {
					w := AsMutating(&c.Webhooks[i])
					defaultWebhook(&w)
					c.Webhooks[i] = asValidating(&w)
				}
			}),
			PrepareCreate: created[config](nil),
			PrepareUpdate: doPair(func(c, old config) { bump(c, old, !reflect.DeepEqual(c.Webhooks, old.Webhooks)) }),
			Validate:      one(func(c config) fieldErrors { return validateWebhooks(allAsMutating(c.Webhooks), nil) }),
			ValidateUpdate: pair(func(c, old config) fieldErrors {
				return validateWebhooks(allAsMutating(c.Webhooks), allAsMutating(old.Webhooks))
			}),
			Warnings: pair(func(c, _ config) []string { return webhookWarnings(allAsMutating(c.Webhooks)) }),
		},
		Columns: []Column{num("Webhooks", "how many it has", func(c config) int { return len(c.Webhooks) }), age()},
	}
}

// AsMutating is a validating webhook as a mutating one, which has one field more: what is true of both kinds is then
// written once. It shares what the fields point to.
func AsMutating(w *admissionv1.ValidatingWebhook) admissionv1.MutatingWebhook {
	return admissionv1.MutatingWebhook{
		Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
		NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects,
		TimeoutSeconds: w.TimeoutSeconds, AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions,
	}
}

func allAsMutating(list []admissionv1.ValidatingWebhook) []admissionv1.MutatingWebhook {
	out := make([]admissionv1.MutatingWebhook, len(list))
	for i := range list {
		out[i] = AsMutating(&list[i])
	}
	return out
}

func asValidating(w *admissionv1.MutatingWebhook) admissionv1.ValidatingWebhook {
	return admissionv1.ValidatingWebhook{
		Name: w.Name, ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
		NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, SideEffects: w.SideEffects,
		TimeoutSeconds: w.TimeoutSeconds, AdmissionReviewVersions: w.AdmissionReviewVersions, MatchConditions: w.MatchConditions,
	}
}

func defaultWebhook(w *admissionv1.MutatingWebhook) {
	unset(&w.FailurePolicy, admissionv1.Fail)
	unset(&w.MatchPolicy, admissionv1.Equivalent)
	unset(&w.NamespaceSelector, metav1.LabelSelector{})
	unset(&w.ObjectSelector, metav1.LabelSelector{})
	unset(&w.TimeoutSeconds, 10)
	unset(&w.ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
	if w.ClientConfig.Service != nil {
		unset(&w.ClientConfig.Service.Port, 443)
	}
	for i := range w.Rules {
		unset(&w.Rules[i].Scope, admissionv1.AllScopes)
	}
}
