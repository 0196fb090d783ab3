// Package patch turns the body of a PATCH into a registry.Transform: one file a patch type.
//
// It owns what a body means: its limits, its errors, field validation of the result. A Transform works on the JSON of the
// version (or subresource) that the caller speaks, may run again after a conflict, and changes nothing that it is given.
// This package stores nothing, starts no goroutine and reads no clock.
//
// Errors are upstream's: 400 for a body that is no patch, 413 for too many operations, 415 for a type that the kind has
// not, 422 for a patch that does not fit the object or makes one that does not decode.
package patch

import (
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// The codes of Statuses for which apimachinery has no constructor.
const (
	codeUnsupportedMediaType = 415
	codeUnprocessable        = 422
)

// Options say what is patched, and how.
type Options struct {
	// Kind, the Version that the caller speaks (nil: the hub) and the Subresource ("" for the object itself).
	Kind        *api.Kind
	Version     *api.Version
	Subresource string
	// FieldValidation is Strict, Warn or Ignore; "" means Warn.
	FieldValidation string
	// FieldManager and Force are for apply, which requires a manager.
	FieldManager string
	Force        *bool
	// Warn collects Warning headers; may be nil.
	Warn func(text string)
}

// maker makes the Transform of one patch type, having checked what can be checked without the object.
type maker func(w *wire, body []byte, o Options) (registry.Transform, error)

// makers by media type, without parameters.
var makers = map[types.PatchType]maker{
	types.JSONPatchType:           newJSONPatch,
	types.MergePatchType:          newMergePatch,
	types.StrategicMergePatchType: newStrategic,
	types.ApplyYAMLPatchType:      newApplyYAML,
	types.ApplyCBORPatchType:      newApplyCBOR,
}

// Supported lists the media types that a kind takes, in the order in which errors name them.
func Supported(k *api.Kind) []string {
	out := []string{string(types.JSONPatchType), string(types.MergePatchType)}
	if !custom(k.Hub().New()) {
		out = append(out, string(types.StrategicMergePatchType))
	}
	return append(out, string(types.ApplyYAMLPatchType), string(types.ApplyCBORPatchType))
}

// New makes the Transform of a body, and the options with which to call Registry.Update.
func New(mediaType string, body []byte, o Options) (registry.Transform, registry.UpdateOptions, error) {
	var none registry.UpdateOptions
	if o.Version == nil {
		o.Version = o.Kind.Hub()
	}
	t := types.PatchType(mediaType)
	make, ok := makers[t]
	if !ok || t == types.StrategicMergePatchType && custom(o.Kind.Hub().New()) {
		return nil, none, unsupported(o.Kind)
	}
	if errs := metavalidation.ValidatePatchOptions(&metav1.PatchOptions{
		FieldManager: o.FieldManager, Force: o.Force, FieldValidation: o.FieldValidation,
	}, t); len(errs) > 0 {
		return nil, none, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "PatchOptions"}, "", errs)
	}
	w, err := newWire(o)
	if err != nil {
		return nil, none, err
	}
	transform, err := make(w, body, o)
	if err != nil {
		return nil, none, err
	}
	apply := t == types.ApplyYAMLPatchType || t == types.ApplyCBORPatchType
	return transform, registry.UpdateOptions{Retry: true, Apply: apply, CreateIfMissing: apply && o.Subresource == ""}, nil
}

func unsupported(k *api.Kind) error {
	message := "the body of the request was in an unknown format - accepted media types include: "
	for i, name := range Supported(k) {
		if i > 0 {
			message += ", "
		}
		message += name
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: codeUnsupportedMediaType,
		Reason: metav1.StatusReasonUnsupportedMediaType, Message: message,
	}}
}

// unprocessable is 422 for a patch that is well-formed and does not fit. The message begins as upstream's, which ends
// there, and says why.
func unprocessable(err error) error {
	status := apierrors.NewGenericServerResponse(codeUnprocessable, "", schema.GroupResource{}, "", err.Error(), 0, false)
	status.ErrStatus.Message += ": " + err.Error()
	return status
}

func custom(obj runtime.Object) bool {
	_, is := obj.(runtime.Unstructured)
	return is
}

// strictness is what to do about unknown and duplicate fields.
type strictness struct {
	directive string
	warn      func(string)
	once      sync.Once
}

// check refuses or warns of the mistakes, as asked; shown is what the error quotes. A transform that runs again after a
// conflict does not warn again.
func (s *strictness) check(mistakes []error, shown string) error {
	if len(mistakes) == 0 || s.directive == metav1.FieldValidationIgnore {
		return nil
	}
	if s.directive == metav1.FieldValidationStrict {
		return invalidPatch(shown, runtime.NewStrictDecodingError(mistakes))
	}
	s.once.Do(func() {
		for _, err := range mistakes {
			if s.warn != nil {
				s.warn(err.Error())
			}
		}
	})
	return nil
}

func badBody(err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
}
