package api

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func serviceAccount() *Kind {
	return &Kind{
		Kind: "ServiceAccount", Plural: "serviceaccounts", Singular: "serviceaccount", ShortNames: []string{"sa"}, Namespaced: true,
		Versions: []Version{typed[corev1.ServiceAccount, corev1.ServiceAccountList]("", "v1")},
		Prefix:   "/registry/serviceaccounts",
		Strategy: Strategy{
			Warnings: pair(serviceAccountWarnings), AllowUnconditionalUpdate: true},
		Subresources: []Subresource{{
			Name: "token", Verbs: []string{"create"},
			GVK: schema.GroupVersionKind{Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest"},
			New: func() runtime.Object { return &authenticationv1.TokenRequest{} },
		}},
		Columns: []Column{age()},
	}
}
