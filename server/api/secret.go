package api

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
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
			Warnings:                 pair(secretWarnings),
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

func validateSecret(s *corev1.Secret) fieldErrors {
	c, data, size := &check{}, at("data"), 0
	for _, k := range sortedKeys(s.Data) {
		c.invalid(data.Key(k), k, validation.IsConfigMapKey(k)...)
		size += len(s.Data[k])
	}
	if size > maxDataSize {
		c.add(field.TooLong(data, "", maxDataSize))
	}
	has := func(k string) bool { _, ok := s.Data[k]; return ok }
	need := func(keys ...string) {
		for _, k := range keys {
			if !has(k) {
				c.required(data.Key(k), "")
			}
		}
	}
	// The contents of a secret are never part of a message.
	isJSON := func(k string) {
		need(k)
		var v any
		if err := json.Unmarshal(s.Data[k], &v); has(k) && err != nil {
			c.invalid(data.Key(k), "<secret contents redacted>", err.Error())
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			c.required(at("metadata", "annotations").Key(corev1.ServiceAccountNameKey), "")
		}
	case corev1.SecretTypeDockercfg:
		isJSON(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		isJSON(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		if !has(corev1.BasicAuthUsernameKey) && !has(corev1.BasicAuthPasswordKey) {
			need(corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			c.required(data.Key(corev1.SSHAuthPrivateKey), "")
		}
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	}
	return c.errs
}

func validateSecretUpdate(s, old *corev1.Secret) fieldErrors {
	c := &check{errs: validateSecret(s)}
	c.immutable(at("type"), s.Type, old.Type)
	c.sealed(s.Immutable, old.Immutable, map[string]bool{"data": !apiequality.Semantic.DeepEqual(s.Data, old.Data)})
	return c.errs
}
