package customresource

import (
	"errors"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
)

// Definition is what users store.
type Definition = apiextensionsv1.CustomResourceDefinition

// kind is what the funcs of one api.Kind share.
type kind struct {
	name     string // of the definition
	group    schema.GroupKind
	versions map[string]*version // by name
	convert  converter
	// preserve is set for definitions of before there were structural schemas: nothing is pruned or defaulted.
	preserve bool
}

// New makes the kind that a definition describes, by the names it has been given (status.acceptedNames). An error says
// why it cannot be served. hooks reaches conversion webhooks; it may be nil if nobody converts.
func New(d *Definition, hooks Poster) (*api.Kind, error) {
	names := &d.Status.AcceptedNames
	if names.Plural == "" || names.Singular == "" || names.Kind == "" || names.ListKind == "" {
		return nil, fmt.Errorf("customresourcedefinition %s: its names are not accepted", d.Name)
	}
	k := &kind{
		name: d.Name, group: schema.GroupKind{Group: d.Spec.Group, Kind: names.Kind},
		versions: map[string]*version{}, preserve: d.Spec.PreserveUnknownFields,
	}
	out := &api.Kind{
		Group: d.Spec.Group, Kind: names.Kind, ListKind: names.ListKind, Plural: names.Plural, Singular: names.Singular,
		ShortNames: names.ShortNames, Categories: names.Categories,
		Namespaced: d.Spec.Scope == apiextensionsv1.NamespaceScoped,
		Prefix:     "/registry/" + d.Spec.Group + "/" + names.Plural,
		Convert:    k.convertAll, Unpublished: !established(d),
	}
	if err := k.addVersions(out, d); err != nil {
		return nil, fmt.Errorf("customresourcedefinition %s: %w", d.Name, err)
	}
	var err error
	if k.convert, err = newConverter(d, hooks); err != nil {
		return nil, fmt.Errorf("customresourcedefinition %s: %w", d.Name, err)
	}
	hub := out.Hub().Custom
	out.Strategy, out.Subresources, out.Columns, out.Fields, out.FieldNames = hub.Strategy, hub.Subresources, hub.Columns, hub.Fields, hub.FieldNames
	// What the store reads may be of any version, and older than the schema.
	out.Default = func(obj api.Object) { k.fromStore(obj.(*unstructured.Unstructured)) }
	return out, nil
}

// addVersions puts the stored version first, as the hub.
func (k *kind) addVersions(out *api.Kind, d *Definition) error {
	var others []api.Version
	for i := range d.Spec.Versions {
		v, err := newVersion(k, d, &d.Spec.Versions[i])
		if err != nil {
			return fmt.Errorf("version %s: %w", d.Spec.Versions[i].Name, err)
		}
		k.versions[v.gvk.Version] = v
		served := v.served(d)
		if v.spec.Storage {
			out.Versions = append(out.Versions, served)
		} else {
			others = append(others, served)
		}
	}
	if len(out.Versions) != 1 {
		return errors.New("exactly one version must be stored")
	}
	out.Versions = append(out.Versions, others...)
	return nil
}

// served is the catalogue's view of a version.
func (v *version) served(d *Definition) api.Version {
	out := api.Version{
		Group: v.gvk.Group, Version: v.gvk.Version,
		New:         func() api.Object { return v.empty(v.gvk.Kind) },
		NewList:     func() runtime.Object { return v.emptyList(d.Status.AcceptedNames.ListKind) },
		Prune:       func(obj api.Object) ([]string, error) { return v.prune(obj.(*unstructured.Unstructured)) },
		Unserved:    !v.spec.Served,
		Deprecation: deprecation(d, v.spec),
		Custom: &api.CustomVersion{
			Strategy: v.strategy(),
			Columns:  columns(v.spec.AdditionalPrinterColumns),
		},
	}
	if v.structural != nil {
		out.Schema = v.publish
	}
	if v.spec.Subresources != nil && v.spec.Subresources.Status != nil {
		out.Custom.Subresources = append(out.Custom.Subresources, v.status())
	}
	if v.scaleSpec != nil {
		out.Custom.Subresources = append(out.Custom.Subresources, v.scale())
	}
	out.Custom.Fields, out.Custom.FieldNames = selectable(v.spec.SelectableFields)
	return out
}

func (v *version) empty(kind string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(v.gvk.GroupVersion().WithKind(kind))
	return u
}

func (v *version) emptyList(kind string) *unstructured.UnstructuredList {
	u := &unstructured.UnstructuredList{Object: map[string]any{}}
	u.SetGroupVersionKind(v.gvk.GroupVersion().WithKind(kind))
	return u
}
