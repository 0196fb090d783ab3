package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
)

func secret() *Kind {
	return &Kind{
		Kind: "Secret", Plural: "secrets", Singular: "secret", Namespaced: true,
		Versions: []Version{typed[corev1.Secret, corev1.SecretList]("", "v1")},
		Prefix:   "/registry/secrets",
		Strategy: Strategy{
			Default:                  do(defaultSecret),
			Validate:                 one(validateSecret),
			ValidateUpdate:           pair(validateSecretUpdate),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{
			str("Type", "what the secret is for", func(s *corev1.Secret) string { return string(s.Type) }),
			tally("Data", "number of keys", func(s *corev1.Secret) int { return len(s.Data) }),
			age(),
		},
		Fields:     one(func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} }),
		FieldNames: []string{"type"},
	}
}

// defaultSecret sets the type and moves stringData, which is for writing only, into data.
func defaultSecret(s *corev1.Secret) {
	blank(&s.Type, corev1.SecretTypeOpaque)
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for k, v := range s.StringData {
		s.Data[k] = []byte(v)
	}
	s.StringData = nil
}
