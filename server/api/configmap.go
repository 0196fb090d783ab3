package api

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
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

// maxDataSize is what the values of a ConfigMap or Secret may have together.
const maxDataSize = 1 << 20

func validateConfigMap(m *corev1.ConfigMap) fieldErrors {
	c, size := &check{}, 0
	for _, k := range sortedKeys(m.Data) {
		c.invalid(at("data").Key(k), k, validation.IsConfigMapKey(k)...)
		if _, twice := m.BinaryData[k]; twice {
			c.invalid(at("data").Key(k), k, "duplicate of key present in binaryData")
		}
		size += len(m.Data[k])
	}
	for _, k := range sortedKeys(m.BinaryData) {
		c.invalid(at("binaryData").Key(k), k, validation.IsConfigMapKey(k)...)
		size += len(m.BinaryData[k])
	}
	if size > maxDataSize {
		c.add(field.TooLong(at(""), "", maxDataSize))
	}
	return c.errs
}

func validateConfigMapUpdate(m, old *corev1.ConfigMap) fieldErrors {
	c := &check{errs: validateConfigMap(m)}
	c.sealed(m.Immutable, old.Immutable, map[string]bool{
		"data":       !apiequality.Semantic.DeepEqual(m.Data, old.Data),
		"binaryData": !apiequality.Semantic.DeepEqual(m.BinaryData, old.BinaryData),
	})
	return c.errs
}

// sealed: once immutable is true it stays so, and nothing that is named in changed may have changed.
func (c *check) sealed(now, old *bool, changed map[string]bool) {
	const why = "field is immutable when `immutable` is set"
	if !deref(old) {
		return
	}
	if !deref(now) {
		c.forbidden(at("immutable"), why)
	}
	for _, name := range sortedKeys(changed) {
		if changed[name] {
			c.forbidden(at(name), why)
		}
	}
}
