package api

import (
	"context"
	"slices"
	"strings"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

type definition = apiextensionsv1.CustomResourceDefinition

func customResourceDefinition() *Kind {
	return &Kind{
		Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Plural: "customresourcedefinitions",
		Singular: "customresourcedefinition", ShortNames: []string{"crd", "crds"}, Categories: []string{"api-extensions"},
		Versions: []Version{typed[definition, apiextensionsv1.CustomResourceDefinitionList]("apiextensions.k8s.io", "v1")},
		Stored:   []Version{storedDefinition()},
		Prefix:   "/registry/apiextensions.k8s.io/customresourcedefinitions",
		Strategy: Strategy{
			Default: do(defaultDefinition),
			PrepareCreate: do(func(d *definition) {
				d.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
				d.Generation = 1
				recordStored(d)
			}),
			PrepareUpdate: updated(func(d, old *definition) {
				old.Status.DeepCopyInto(&d.Status)
				recordStored(d)
			}, func(d *definition) any { return d.Spec }),
			Validate: one(func(d *definition) field.ErrorList {
				return specErrors(validation.ValidateCustomResourceDefinition(context.Background(), internalDefinition(d)))
			}),
			ValidateUpdate: pair(func(d, old *definition) field.ErrorList {
				return specErrors(validation.ValidateCustomResourceDefinitionUpdate(context.Background(), internalDefinition(d), internalDefinition(old)))
			}),
			// The name is checked with the spec, of which it is made.
			ValidateName: func(string, bool) []string { return nil },
			Warnings:     pair(definitionWarnings),
			BeginDelete:  func(obj Object, now time.Time) { beginDeleteDefinition(obj.(*definition), now) },
		},
		Subresources: []Subresource{status(func(to, from *definition) { to.Status = from.Status },
			func(d, old *definition) field.ErrorList {
				return specErrors(validation.ValidateUpdateCustomResourceDefinitionStatus(context.Background(), internalDefinition(d), internalDefinition(old)))
			})},
		Columns: []Column{createdAt()},
		// A change of the status, of which there are several at the start, leaves the schemas alone.
		Share: doPair(func(d, old *definition) {
			if d.UID == old.UID && d.Generation == old.Generation {
				d.Spec = old.Spec
			}
		}),
	}
}

func defaultDefinition(d *definition) {
	// Upstream's defaulting of services and names; what it says of the stored versions is recordStored's too.
	apiextensionsv1.SetObjectDefaults_CustomResourceDefinition(d)
	for i := range d.Spec.Versions {
		if s := d.Spec.Versions[i].Schema; s != nil {
			allowDescribed(s.OpenAPIV3Schema)
		}
	}
}

// allowDescribed says of additional properties and items that have a schema that they are allowed. JSON has no way to say
// otherwise, but Go clients, which do not set this, send protobuf.
func allowDescribed(s *apiextensionsv1.JSONSchemaProps) {
	if s == nil {
		return
	}
	for _, additional := range []*apiextensionsv1.JSONSchemaPropsOrBool{s.AdditionalProperties, s.AdditionalItems} {
		if additional != nil && additional.Schema != nil {
			additional.Allows = true
			allowDescribed(additional.Schema)
		}
	}
	if s.Items != nil {
		allowDescribed(s.Items.Schema)
		allowAll(s.Items.JSONSchemas)
	}
	allowDescribed(s.Not)
	for _, list := range [][]apiextensionsv1.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		allowAll(list)
	}
	for _, of := range []map[string]apiextensionsv1.JSONSchemaProps{s.Properties, s.PatternProperties, s.Definitions} {
		for name := range of {
			inner := of[name] // its pointers are those of the map's
			allowDescribed(&inner)
		}
	}
}

func allowAll(list []apiextensionsv1.JSONSchemaProps) {
	for i := range list {
		allowDescribed(&list[i])
	}
}

// recordStored notes that objects may be stored in the version which is stored from now on.
func recordStored(d *definition) {
	for _, v := range d.Spec.Versions {
		if v.Storage && !slices.Contains(d.Status.StoredVersions, v.Name) {
			d.Status.StoredVersions = append(d.Status.StoredVersions, v.Name)
		}
	}
}

// internalDefinition is what upstream's validation takes. It shares nothing with d.
func internalDefinition(d *definition) *apiextensions.CustomResourceDefinition {
	out := &apiextensions.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(d.DeepCopy(), out, nil); err != nil {
		// Only JSON that is none can fail to convert, and that has not come through decoding.
		return &apiextensions.CustomResourceDefinition{ObjectMeta: d.ObjectMeta}
	}
	return out
}

// specErrors leaves out what is wrong with the metadata, apart from the name: the registry says that for all kinds.
func specErrors(errs field.ErrorList) field.ErrorList {
	return slices.DeleteFunc(errs, func(e *field.Error) bool {
		return strings.HasPrefix(e.Field, "metadata.") && e.Field != "metadata.name" && !strings.HasPrefix(e.Field, "metadata.annotations[api-approved")
	})
}

// beginDeleteDefinition holds a definition until all objects of its kind are gone.
func beginDeleteDefinition(d *definition, now time.Time) {
	if !slices.Contains(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer) {
		d.Finalizers = append(d.Finalizers, apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	SetDefinitionCondition(d, apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.Terminating, Status: apiextensionsv1.ConditionTrue, Reason: "InstanceDeletionPending",
		Message: "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
	}, metav1.NewTime(now))
}

// DefinitionCondition returns a condition of a CustomResourceDefinition, or nil.
func DefinitionCondition(d *definition, t apiextensionsv1.CustomResourceDefinitionConditionType) *apiextensionsv1.CustomResourceDefinitionCondition {
	for i := range d.Status.Conditions {
		if d.Status.Conditions[i].Type == t {
			return &d.Status.Conditions[i]
		}
	}
	return nil
}

// DefinitionIs says whether a condition of this type is true.
func DefinitionIs(d *definition, t apiextensionsv1.CustomResourceDefinitionConditionType) bool {
	c := DefinitionCondition(d, t)
	return c != nil && c.Status == apiextensionsv1.ConditionTrue
}

// SetDefinitionCondition adds a condition or replaces the one of its type, and says whether that changed anything. Its
// time of transition is now if the status is another one than before.
func SetDefinitionCondition(d *definition, c apiextensionsv1.CustomResourceDefinitionCondition, now metav1.Time) (changed bool) {
	have := DefinitionCondition(d, c.Type)
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	if have == nil {
		d.Status.Conditions = append(d.Status.Conditions, c)
		return true
	}
	if have.Status == c.Status {
		c.LastTransitionTime = have.LastTransitionTime
	}
	changed = !apiequality.Semantic.DeepEqual(*have, c)
	*have = c
	return changed
}
