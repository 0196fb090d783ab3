package api

import (
	corev1 "k8s.io/api/core/v1"
)

func configMap() *Kind {
	return &Kind{
		Kind: "ConfigMap", Plural: "configmaps", Singular: "configmap", ShortNames: []string{"cm"}, Namespaced: true,
		Versions: []Version{typed[corev1.ConfigMap, corev1.ConfigMapList]("", "v1")},
		Prefix:   "/registry/configmaps",
		Strategy: Strategy{
			Validate:                 one(validateConfigMap),
			ValidateUpdate:           pair(validateConfigMapUpdate),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{
			tally("Data", "number of keys", func(c *corev1.ConfigMap) int { return len(c.Data) + len(c.BinaryData) }),
			age(),
		},
	}
}
