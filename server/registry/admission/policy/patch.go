package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"google.golang.org/protobuf/types/known/structpb"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	celmutation "k8s.io/apiserver/pkg/cel/mutation"
	"k8s.io/apiserver/pkg/cel/mutation/dynamic"

	"codeberg.org/skiff/skiff/server/cel"
	"codeberg.org/skiff/skiff/server/registry/admission/match"
	"codeberg.org/skiff/skiff/server/registry/managedfields"
)

// mutate makes one mutation. What an expression says about the object is evaluated anew: the one before may have
// changed it.
func (in *invocation) mutate(m mutation) (changed bool, err error) {
	if err := m.program.Err(); err != nil {
		return false, err
	}
	e, err := in.evaluation(true)
	if err != nil {
		return false, err
	}
	out, err := e.Run(in.ctx, m.program, cel.PolicyBudget())
	if err != nil {
		return false, err
	}
	if m.patchType == admissionv1.PatchTypeJSONPatch {
		return in.jsonPatch(out)
	}
	return in.apply(out)
}

// apply merges an Object into the request's object, as server-side apply would.
func (in *invocation) apply(out ref.Val) (bool, error) {
	config, ok := out.(*dynamic.ObjectVal)
	if !ok {
		return false, fmt.Errorf("unsupported return type from ApplyConfiguration expression: %v", out.Type())
	}
	if err := config.CheckTypeNamesMatchFieldPathNames(); err != nil {
		return false, fmt.Errorf("type mismatch: %w", err)
	}
	content, ok := config.Value().(map[string]any)
	if !ok {
		return false, fmt.Errorf("invalid return type: %T", config.Value())
	}
	view, err := in.subject.View(in.target)
	if err != nil {
		return false, err
	}
	content["apiVersion"], content["kind"] = in.target.Kind.GroupVersion().String(), in.target.Kind.Kind
	merged, err := managedfields.Merge(in.subject.Attributes.Kind, in.subject.VersionOf(in.target), view.Object, content)
	if err != nil {
		return false, fmt.Errorf("error applying patch: %w", err)
	}
	data, err := json.Marshal(merged)
	if err != nil {
		return false, fmt.Errorf("error applying patch: %w", err)
	}
	return in.subject.ReplaceJSON(in.target, data)
}

// jsonPatch applies a list of JSONPatch.
func (in *invocation) jsonPatch(out ref.Val) (bool, error) {
	list, ok := out.(traits.Lister)
	if !ok {
		return false, errors.New("type mismatch: JSONPatchType.expression should evaluate to array")
	}
	var steps []map[string]any
	for it := list.Iterator(); it.HasNext() == types.True; {
		step, err := stepOf(it.Next())
		if err != nil {
			return false, err
		}
		steps = append(steps, step)
	}
	if len(steps) == 0 {
		return false, nil
	}
	data, err := json.Marshal(steps)
	if err != nil {
		return false, fmt.Errorf("JSON Patch: %w", err)
	}
	patch, err := match.DecodePatch(data)
	if err != nil {
		return false, fmt.Errorf("JSON Patch: %w", err)
	}
	changed, err := in.subject.PatchJSON(in.target, patch)
	var status apierrors.APIStatus
	switch {
	case err == nil, errors.As(err, &status):
		return changed, err
	case errors.Is(err, jsonpatch.ErrTestFailed):
		return false, nil
	}
	return false, fmt.Errorf("JSON Patch: %w", err)
}

// stepOf reads one step of a JSON patch.
func stepOf(v ref.Val) (map[string]any, error) {
	native, err := v.ConvertToNative(reflect.TypeFor[*celmutation.JSONPatchVal]())
	if err != nil {
		return nil, fmt.Errorf("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch: %w", err)
	}
	p, ok := native.(*celmutation.JSONPatchVal)
	if !ok {
		return nil, fmt.Errorf("type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, got element of %T", native)
	}
	step := map[string]any{"op": p.Op, "path": p.Path}
	if p.From != "" {
		step["from"] = p.From
	}
	if p.Val == nil {
		return step, nil
	}
	if obj, ok := p.Val.(*dynamic.ObjectVal); ok {
		if err := obj.CheckTypeNamesMatchFieldPathNames(); err != nil {
			return nil, fmt.Errorf("type mismatch: %w", err)
		}
	}
	value, err := p.Val.ConvertToNative(reflect.TypeFor[*structpb.Value]())
	if err != nil {
		return nil, fmt.Errorf("JSONPath valueExpression evaluated to a type that could not marshal to JSON: %w", err)
	}
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("JSONPath valueExpression evaluated to a type that could not marshal to JSON: %w", err)
	}
	step["value"] = json.RawMessage(data)
	return step, nil
}
