package patch

import (
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"

	"codeberg.org/skiff/skiff/server/registry"
)

// newStrategic serves application/strategic-merge-patch+json: a merge patch whose lists merge by the keys that the Go
// types name.
func newStrategic(w *wire, body []byte, _ Options) (registry.Transform, error) {
	probe := map[string]any{}
	mistakes, err := kjson.UnmarshalStrict(body, &probe)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	w.speaksOf(body)
	return func(current runtime.Object) (runtime.Object, error) {
		obj, err := w.show(current)
		if err != nil {
			return nil, err
		}
		original, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
		if err != nil {
			return nil, err
		}
		// Merging consumes the patch, so each run gets its own.
		patch := map[string]any{}
		if err := kjson.UnmarshalCaseSensitivePreserveInts(body, &patch); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		merged, err := merge(original, patch, w.new())
		if err != nil {
			return nil, err
		}
		return w.structured(merged, mistakes, body)
	}, nil
}

func merge(original, patch map[string]any, example runtime.Object) (map[string]any, error) {
	merged, err := strategicpatch.StrategicMergeMapPatch(original, patch, example)
	switch {
	case err == nil:
		return merged, nil
	case errors.Is(err, mergepatch.ErrNoListOfLists), errors.Is(err, mergepatch.ErrPatchContentNotMatchRetainKeys):
		return nil, unprocessable(err)
	}
	// What is left is a patch whose shape does not fit the type: "unable to find api field …", "expected map …".
	return nil, apierrors.NewBadRequest(err.Error())
}

// structured makes a hub object of merged JSON values.
func (w *wire) structured(merged map[string]any, mistakes []error, body []byte) (runtime.Object, error) {
	obj := w.new()
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(merged, obj, true)
	shown := string(body)
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		mistakes = append(mistakes[:len(mistakes):len(mistakes)], strict.Errors()...)
	} else if err != nil {
		return nil, invalidPatch(shown, err)
	}
	if err := w.strict.check(mistakes, shown); err != nil {
		return nil, err
	}
	return w.finish(obj)
}
