package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What a class may tell its driver: so many parameters, and so many bytes of them.
const (
	maxClassParameters     = 512
	maxClassParameterBytes = 256 << 10
)

func (c *check) provisioner(at *field.Path, name string) {
	if c.needs(at, name) {
		lower := strings.ToLower(name)
		c.invalid(at, lower, validation.IsQualifiedName(lower)...)
	}
}

func (c *check) parameters(at *field.Path, params map[string]string) {
	if len(params) > maxClassParameters {
		c.add(field.TooLong(at, "", maxClassParameters))
		return
	}
	size := 0
	for _, k := range sortedKeys(params) {
		if k == "" {
			c.invalid(at, k, "field can not be empty.")
		}
		size += len(k) + len(params[k])
	}
	if size > maxClassParameterBytes {
		c.add(field.TooLong(at, "", maxClassParameterBytes))
	}
}

// driverName checks the name of a CSI driver.
func (c *check) driverName(at *field.Path, name string) {
	if !c.needs(at, name) {
		return
	}
	if len(name) > 63 {
		c.add(field.TooLong(at, "", 63))
	}
	c.invalid(at, name, validation.IsDNS1123Subdomain(strings.ToLower(name))...)
}

func validateStorageClass(s *storagev1.StorageClass) fieldErrors {
	c := &check{}
	c.provisioner(at("provisioner"), s.Provisioner)
	c.parameters(at("parameters"), s.Parameters)
	if p := s.ReclaimPolicy; p != nil {
		oneOfIfSet(c, at("reclaimPolicy"), *p, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
	}
	oneOf(c, at("volumeBindingMode"), deref(s.VolumeBindingMode), storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
	c.topologies(at("allowedTopologies"), s.AllowedTopologies)
	return c.errs
}

func (c *check) topologies(at *field.Path, terms []corev1.TopologySelectorTerm) {
	var before []map[string]map[string]bool
	for i, t := range terms {
		path, keys := at.Index(i).Child("matchLabelExpressions"), map[string]map[string]bool{}
		for j, e := range t.MatchLabelExpressions {
			values := map[string]bool{}
			if len(e.Values) == 0 {
				c.required(path.Index(j).Child("values"), "")
			}
			for k, v := range e.Values {
				if values[v] {
					c.add(field.Duplicate(path.Index(j).Child("values").Index(k), v))
				}
				values[v] = true
			}
			c.add(metavalidation.ValidateLabelName(e.Key, path.Index(j).Child("key"))...)
			if keys[e.Key] != nil {
				c.add(field.Duplicate(path.Index(j).Child("key"), e.Key))
			}
			keys[e.Key] = values
		}
		for _, same := range before {
			if apiequality.Semantic.DeepEqual(keys, same) {
				c.add(field.Duplicate(path, ""))
			}
		}
		before = append(before, keys)
	}
}

func validateStorageClassUpdate(s, old *storagev1.StorageClass) fieldErrors {
	c := &check{errs: validateStorageClass(s)}
	c.immutable(at("parameters"), s.Parameters, old.Parameters)
	c.immutable(at("provisioner"), s.Provisioner, old.Provisioner)
	c.immutable(at("reclaimPolicy"), s.ReclaimPolicy, old.ReclaimPolicy)
	c.immutable(at("volumeBindingMode"), s.VolumeBindingMode, old.VolumeBindingMode)
	return c.errs
}

// oldNodeLabels are labels of nodes whose names are no longer used.
var oldNodeLabels = map[string]string{
	"beta.kubernetes.io/arch":                       "deprecated since v1.14; use \"kubernetes.io/arch\" instead",
	"beta.kubernetes.io/os":                         "deprecated since v1.14; use \"kubernetes.io/os\" instead",
	"beta.kubernetes.io/instance-type":              "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
	"failure-domain.beta.kubernetes.io/region":      "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
	"failure-domain.beta.kubernetes.io/zone":        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
	"app.kubernetes.io/created-by":                  "deprecated since v1.9",
	"scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
	"node-role.kubernetes.io/master":                "use \"node-role.kubernetes.io/control-plane\" instead",
}

func oldNodeLabelWarning(at *field.Path, key string) []string {
	if text := oldNodeLabels[key]; text != "" {
		return []string{fmt.Sprintf("%s: %s", at, text)}
	}
	return nil
}

func storageClassWarnings(s, _ *storagev1.StorageClass) (texts []string) {
	for i, t := range s.AllowedTopologies {
		for j, e := range t.MatchLabelExpressions {
			texts = append(texts, oldNodeLabelWarning(at("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key"), e.Key)...)
		}
	}
	return texts
}

func storageCapacityWarnings(s, _ *storagev1.CSIStorageCapacity) (texts []string) {
	if s.NodeTopology == nil {
		return nil
	}
	for i, e := range s.NodeTopology.MatchExpressions {
		texts = append(texts, oldNodeLabelWarning(at("nodeTopology", "matchExpressions").Index(i).Child("key"), e.Key)...)
	}
	for _, k := range sortedKeys(s.NodeTopology.MatchLabels) {
		texts = append(texts, oldNodeLabelWarning(at("nodeTopology", "matchLabels").Key(k), k)...)
	}
	return texts
}
