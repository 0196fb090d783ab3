package patch

import (
	"fmt"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"

	"codeberg.org/skiff/skiff/server/registry"
)

// maxOperations a JSON patch may have.
const maxOperations = 10_000

// operation is one step of a JSON patch (RFC 6902), for strict decoding.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

// newJSONPatch serves application/json-patch+json.
func newJSONPatch(w *wire, body []byte, _ Options) (registry.Transform, error) {
	var strict []operation
	mistakes, err := kjson.UnmarshalStrict(body, &strict)
	if err != nil {
		return nil, badBody(err)
	}
	for i, m := range mistakes {
		mistakes[i] = fmt.Errorf("json patch %w", m)
	}
	patch, err := jsonpatch.DecodePatch(body)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if len(patch) > maxOperations {
		return nil, apierrors.NewRequestEntityTooLargeError(
			fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxOperations, len(patch)))
	}
	w.speaksOf(body)
	return func(current runtime.Object) (runtime.Object, error) {
		data, err := w.encode(current)
		if err != nil {
			return nil, err
		}
		patched, err := patch.Apply(data)
		if err != nil {
			return nil, unprocessable(err)
		}
		return w.decode(patched, mistakes)
	}, nil
}

// newMergePatch serves application/merge-patch+json (RFC 7396).
func newMergePatch(w *wire, body []byte, _ Options) (registry.Transform, error) {
	var strict map[string]any
	mistakes, err := kjson.UnmarshalStrict(body, &strict)
	if err != nil {
		return nil, badBody(err)
	}
	w.speaksOf(body)
	return func(current runtime.Object) (runtime.Object, error) {
		data, err := w.encode(current)
		if err != nil {
			return nil, err
		}
		patched, err := jsonpatch.MergePatch(data, body)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return w.decode(patched, mistakes)
	}, nil
}
