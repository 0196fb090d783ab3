package customresource

import (
	"context"
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/common"
)

// validators check objects of one version. They are safe for concurrent use.
type validators struct {
	schema schemavalidation.SchemaValidator
	// status is the schema of status alone, for the status subresource; nil without one.
	status schemavalidation.SchemaValidator
	// rules are the compiled x-kubernetes-validations; nil if there are none.
	rules *cel.Validator
}

func (v *version) makeValidators() (*validators, error) {
	props, err := internalSchema(v.spec)
	if err != nil {
		return nil, err
	}
	out := &validators{}
	if out.schema, _, err = schemavalidation.NewSchemaValidator(props); err != nil {
		return nil, fmt.Errorf("make a validator of the schema of %s: %w", v.gvk, err)
	}
	if v.hasStatus() && props != nil {
		if status, ok := props.Properties["status"]; ok {
			if out.status, _, err = schemavalidation.NewSchemaValidator(&status); err != nil {
				return nil, fmt.Errorf("make a validator of the schema of the status of %s: %w", v.gvk, err)
			}
		}
	}
	if v.structural != nil {
		out.rules = cel.NewValidator(v.structural, true, celconfig.PerCallLimit)
	}
	return out, nil
}

func broken(err error) field.ErrorList { return field.ErrorList{field.InternalError(nil, err)} }

func (v *version) validateNew(obj *unstructured.Unstructured) field.ErrorList {
	by, err := v.validators()
	if err != nil {
		return broken(err)
	}
	errs := schemavalidation.ValidateCustomResource(nil, obj.Object, by.schema)
	errs = append(errs, v.validateScale(obj, true)...)
	errs = append(errs, v.validateEmbedded(obj)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, v.structural, obj.Object)...)
	return append(errs, v.obey(by, errs, obj, nil)...)
}

// validateUpdate lets through what was wrong before and has not changed (KEP-4008).
func (v *version) validateUpdate(obj, old *unstructured.Unstructured) field.ErrorList {
	by, err := v.validators()
	if err != nil {
		return broken(err)
	}
	pair := v.correlate(obj, old)
	errs := schemavalidation.ValidateCustomResourceUpdate(nil, obj.Object, old.Object, by.schema, schemavalidation.WithRatcheting(pair))
	errs = append(errs, v.validateScale(obj, true)...)
	errs = append(errs, v.validateEmbedded(obj)...)
	errs = append(errs, v.validateLists(obj, old)...)
	return append(errs, v.obey(by, errs, obj, old, cel.WithRatcheting(pair))...)
}

// validateStatus is for updates of the status, which can change nothing else.
func (v *version) validateStatus(obj, old *unstructured.Unstructured) field.ErrorList {
	by, err := v.validators()
	if err != nil {
		return broken(err)
	}
	pair := v.correlate(obj, old)
	var errs field.ErrorList
	if status, has := obj.Object["status"]; has && by.status != nil {
		var options []schemavalidation.ValidationOption
		if v.structural != nil {
			options = append(options, schemavalidation.WithRatcheting(pair.Key("status")))
		}
		errs = schemavalidation.ValidateCustomResourceUpdate(field.NewPath("status"), status, old.Object["status"], by.status, options...)
	}
	errs = append(errs, v.validateScale(obj, false)...)
	errs = append(errs, v.validateLists(obj, old)...)
	return append(errs, v.obey(by, errs, obj, old, cel.WithRatcheting(pair))...)
}

func (v *version) correlate(obj, old *unstructured.Unstructured) *common.CorrelatedObject {
	return common.NewCorrelatedObject(obj.Object, old.Object, &model.Structural{Structural: v.structural})
}

func (v *version) validateEmbedded(obj *unstructured.Unstructured) field.ErrorList {
	if !v.embeds {
		return nil
	}
	return objectmeta.Validate(context.Background(), nil, obj.Object, v.structural, false)
}

// validateLists checks that sets and maps are such, unless they have not been before.
func (v *version) validateLists(obj, old *unstructured.Unstructured) field.ErrorList {
	errs := listtype.ValidateListSetsAndMaps(nil, v.structural, obj.Object)
	if len(errs) > 0 && len(listtype.ValidateListSetsAndMaps(nil, v.structural, old.Object)) > 0 {
		return nil
	}
	return errs
}

// obey evaluates the rules, within upstream's budget for one object. An object of the wrong types is not shown to them.
func (v *version) obey(by *validators, before field.ErrorList, obj, old *unstructured.Unstructured, options ...cel.Option) field.ErrorList {
	if by.rules == nil {
		return nil
	}
	for _, err := range before {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return field.ErrorList{field.Invalid(nil, nil,
				"some validation rules were not checked because the object was invalid; correct the existing errors to complete validation")}
		}
	}
	var was any
	if old != nil {
		was = old.Object
	}
	errs, _ := by.rules.Validate(context.Background(), nil, v.structural, obj.Object, was, celconfig.RuntimeCELCostBudget, options...)
	return errs
}
