package policy

import (
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry/admission/match"
	"codeberg.org/skiff/skiff/server/store"
)

// maxParams that a selector may choose for one request.
const maxParams = 1000

// parameters are the objects that a binding gives its policy: one nil if it needs none, nothing if there are none and
// that is allowed.
func (c *Config) parameters(s *store.Snapshot, kind *admissionv1.ParamKind, ref *admissionv1.ParamRef, namespace string) ([]runtime.Object, error) {
	if kind == nil || ref == nil {
		return none, nil
	}
	k, v := c.Catalogue.ByKind(schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind))
	if k == nil || k.Virtual {
		return nil, fmt.Errorf("paramKind kind `%v` not known", kind.String())
	}
	if !k.Namespaced {
		if ref.Namespace != "" {
			return nil, errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
		}
		namespace = ""
	} else if ref.Namespace != "" {
		namespace = ref.Namespace
	} else if namespace == "" {
		return nil, errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
	}
	found, err := find(s, k, ref, namespace)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionv1.DenyAction {
		return nil, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	out := make([]runtime.Object, len(found))
	for i, obj := range found {
		if obj, err = versioned(k, v, obj); err != nil {
			return nil, err
		}
		out[i] = match.WithType(obj, schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind))
	}
	return out, nil
}

func find(s *store.Snapshot, k *api.Kind, ref *admissionv1.ParamRef, namespace string) (found []api.Object, err error) {
	if ref.Name != "" {
		if obj := s.Get(k, namespace, ref.Name); obj != nil {
			found = append(found, obj)
		}
		return found, nil
	}
	if ref.Selector == nil {
		return nil, errors.New("one of name or selector must be provided")
	}
	selector, err := metav1.LabelSelectorAsSelector(ref.Selector)
	if err != nil {
		return nil, err
	}
	for obj := range s.List(k, namespace, "") {
		if !selector.Matches(labels.Set(obj.GetLabels())) {
			continue
		}
		if found = append(found, obj); len(found) > maxParams {
			return nil, fmt.Errorf("paramRef.selector chooses more than %d objects", maxParams)
		}
	}
	return found, nil
}

func versioned(k *api.Kind, v *api.Version, obj api.Object) (api.Object, error) {
	switch {
	case k.Convert != nil:
		return k.ConvertTo(obj, v)
	case v.FromHub != nil:
		return v.FromHub(obj)
	}
	return obj, nil
}
