package api

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
)

// reviews are the questions one can POST: nothing of them is stored.
func reviews() []*Kind {
	const authn, authz = "authentication.k8s.io", "authorization.k8s.io"
	ask := func(group, kind, plural, singular string, namespaced bool, v Version) *Kind {
		return &Kind{
			Group: group, Kind: kind, Plural: plural, Singular: singular, Namespaced: namespaced,
			Versions: []Version{v}, Virtual: true, Verbs: []string{"create"},
		}
	}
	return []*Kind{
		ask(authn, "TokenReview", "tokenreviews", "tokenreview", false, listless[authenticationv1.TokenReview](authn, "v1")),
		ask(authn, "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview", false, listless[authenticationv1.SelfSubjectReview](authn, "v1")),
		ask(authz, "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview", false, listless[authorizationv1.SubjectAccessReview](authz, "v1")),
		ask(authz, "LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview", true, listless[authorizationv1.LocalSubjectAccessReview](authz, "v1")),
		ask(authz, "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview", false, listless[authorizationv1.SelfSubjectAccessReview](authz, "v1")),
		ask(authz, "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview", false, listless[authorizationv1.SelfSubjectRulesReview](authz, "v1")),
	}
}

// binding is the oldest way to put a pod on a node: POST to bindings, with the pod's name.
func binding() *Kind {
	return &Kind{
		Kind: "Binding", Plural: "bindings", Singular: "binding", Namespaced: true,
		Versions: []Version{listless[corev1.Binding]("", "v1")},
		Virtual:  true, Verbs: []string{"create"},
	}
}
