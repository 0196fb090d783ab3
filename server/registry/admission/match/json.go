package match

import (
	"encoding/json"
	"errors"
	"fmt"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
)

// ErrTest says that a test operation of a JSON patch failed: the patch is not for this object.
var ErrTest = jsonpatch.ErrTestFailed

// maxOperations a JSON patch may have.
const maxOperations = 10_000

// DecodePatch reads a JSON patch.
func DecodePatch(data []byte) (jsonpatch.Patch, error) {
	patch, err := jsonpatch.DecodePatch(data)
	if err != nil {
		return nil, err
	}
	if len(patch) > maxOperations {
		return nil, fmt.Errorf("the allowed maximum operations in a JSON patch is %d, got %d", maxOperations, len(patch))
	}
	return patch, nil
}

// PatchJSON patches the request's object as a target sees it.
func (m *Subject) PatchJSON(t Target, patch jsonpatch.Patch) (changed bool, err error) {
	view, err := m.View(t)
	if err != nil {
		return false, err
	}
	if view.Object == nil {
		return false, errors.New("there is no object to patch")
	}
	before, err := json.Marshal(view.Object)
	if err != nil {
		return false, err
	}
	after, err := patch.Apply(before)
	if err != nil {
		return false, err
	}
	return m.ReplaceJSON(t, after)
}

// ReplaceJSON makes what data encodes, an object of a target's kind, the new state of the request's object.
func (m *Subject) ReplaceJSON(t Target, data []byte) (changed bool, err error) {
	view, err := m.View(t)
	if err != nil {
		return false, err
	}
	next, err := m.decode(t, data)
	if err != nil || apiequality.Semantic.DeepEqual(view.Object, next) {
		return false, err
	}
	return true, m.Replace(t, next)
}

func (m *Subject) decode(t Target, data []byte) (runtime.Object, error) {
	next := m.NewObject(t)
	if u, custom := next.(*unstructured.Unstructured); custom {
		u.Object = nil
		if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &u.Object); err != nil {
			return nil, err
		}
		if u.Object == nil {
			return nil, errors.New("the patch made the object null")
		}
		if _, ok := u.Object["metadata"].(map[string]any); !ok {
			return nil, errors.New("the patch left no metadata")
		}
	} else if err := kjson.UnmarshalCaseSensitivePreserveInts(data, next); err != nil {
		return nil, err
	}
	if gvk := next.GetObjectKind().GroupVersionKind(); gvk != t.Kind {
		return nil, fmt.Errorf("the patch made a %s of a %s", gvk, t.Kind)
	}
	return next, nil
}
