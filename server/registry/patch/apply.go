package patch

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/managedfields"
)

// newApplyYAML serves application/apply-patch+yaml: server-side apply. JSON is YAML too.
func newApplyYAML(w *wire, body []byte, o Options) (registry.Transform, error) {
	data, err := yaml.YAMLToJSON(body)
	if err != nil {
		return nil, badBody(err)
	}
	var config map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &config); err != nil {
		return nil, badBody(err)
	}
	var duplicates error
	if o.FieldValidation != metav1.FieldValidationIgnore {
		duplicates = yaml.UnmarshalStrict(body, &map[string]any{})
	}
	return newApply(w, config, duplicates, o)
}

// newApplyCBOR serves application/apply-patch+cbor, where a duplicate key is never right.
func newApplyCBOR(w *wire, body []byte, o Options) (registry.Transform, error) {
	var config map[string]any
	if err := direct.Unmarshal(body, &config); err != nil {
		return nil, badBody(err)
	}
	return newApply(w, config, nil, o)
}

// maxApplyWidth bounds the entries of one map or list in an applied configuration. Who owns which of them is kept in sorted sets, whose making costs the
// square of their size: 90,000 took 22 seconds of a processor.
const maxApplyWidth = 20_000

// widest is how many entries the largest map or list below v has.
func widest(v any) int {
	most := 0
	switch v := v.(type) {
	case map[string]any:
		most = len(v)
		for _, child := range v {
			most = max(most, widest(child))
		}
	case []any:
		most = len(v)
		for _, child := range v {
			most = max(most, widest(child))
		}
	}
	return most
}

func newApply(w *wire, config map[string]any, duplicates error, o Options) (registry.Transform, error) {
	u := &unstructured.Unstructured{Object: config}
	if config == nil {
		return nil, badBody(errors.New("the configuration is empty"))
	}
	if err := wellFormed(config); err != nil {
		return nil, badBody(err)
	}
	if widest(config) > maxApplyWidth {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("server-side apply takes at most %d entries in one map or list; "+
			"send what has more with create, update or patch", maxApplyWidth))
	}
	if gvk := u.GroupVersionKind(); gvk != w.gvk {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid object type: %v", gvk))
	}
	if sub := o.Kind.SubresourceOf(o.Version, o.Subresource); sub != nil && sub.Project != nil {
		var err error
		if u, err = throughScale(u, o, sub.ReplicasPath); err != nil {
			return nil, err
		}
	}
	manager, err := managedfields.For(o.Kind, o.Version, o.Subresource)
	if err != nil {
		return nil, err
	}
	return func(current runtime.Object) (runtime.Object, error) {
		live, _ := current.(api.Object)
		out, err := manager.Apply(live, u.DeepCopy(), o.FieldManager, o.Force != nil && *o.Force)
		if err != nil {
			return nil, applyError(err)
		}
		return out, w.checkDuplicates(duplicates)
	}, nil
}

func (w *wire) checkDuplicates(err error) error {
	if err == nil {
		return nil
	}
	if w.strict.directive == metav1.FieldValidationStrict {
		return apierrors.NewBadRequest(fmt.Sprintf("error strict decoding patch: %v", err))
	}
	return w.strict.check([]error{err}, "")
}

// applyError keeps a Status (a conflict, a wrong version); what else goes wrong is wrong with the configuration.
func applyError(err error) error {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	return apierrors.NewBadRequest(err.Error())
}

// throughScale turns a Scale that is applied into the same wish on the scaled object, so that one set of managedFields
// knows of it.
func throughScale(scale *unstructured.Unstructured, o Options, path []string) (*unstructured.Unstructured, error) {
	if scale.GetManagedFields() != nil {
		return nil, apierrors.NewBadRequest("metadata.managedFields must be nil")
	}
	out := &unstructured.Unstructured{Object: map[string]any{}}
	out.SetAPIVersion(metav1.GroupVersion{Group: o.Version.Group, Version: o.Version.Version}.String())
	out.SetKind(o.Kind.Kind)
	out.SetName(scale.GetName())
	out.SetNamespace(scale.GetNamespace())
	out.SetResourceVersion(scale.GetResourceVersion())
	replicas, found, err := unstructured.NestedFieldNoCopy(scale.Object, "spec", "replicas")
	if err != nil {
		return nil, badBody(err)
	}
	if found {
		if path == nil {
			path = []string{"spec", "replicas"}
		}
		err = unstructured.SetNestedField(out.Object, replicas, path...)
	}
	return out, err
}
