package registry

import (
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"codeberg.org/skiff/skiff/server/api"
)

const (
	fieldName      = "metadata.name"
	fieldNamespace = "metadata.namespace"
)

// selector is a label and a field selector made ready for one kind. The zero value lets everything through.
type selector struct {
	kind    *api.Kind
	version *api.Version
	labels  labels.Selector // nil: everything
	fields  fields.Requirements
	// name and namespace are what equality requirements on these fields ask for; index and value what one on an indexed
	// field does. They choose a cheap way to the candidates, which are then matched in full.
	name, namespace string
	index, value    string
	// kindFields is set when a requirement needs Kind.Fields.
	kindFields bool
}

// newSelector checks that the kind has all the fields that are selected.
func newSelector(request Request, byLabel labels.Selector, byField fields.Selector) (selector, error) {
	s := selector{kind: request.Kind, version: request.version()}
	if byLabel != nil && !byLabel.Empty() {
		s.labels = byLabel
	}
	if byField == nil || byField.Empty() {
		return s, nil
	}
	s.fields = byField.Requirements()
	for _, req := range s.fields {
		if err := s.check(req.Field); err != nil {
			return selector{}, err
		}
		s.note(req)
	}
	return s, nil
}

func (s *selector) note(req fields.Requirement) {
	equal := req.Operator == selection.Equals || req.Operator == selection.DoubleEquals
	switch req.Field {
	case fieldName:
		if equal {
			s.name = req.Value
		}
		return
	case fieldNamespace:
		if equal {
			s.namespace = req.Value
		}
		return
	}
	s.kindFields = true
	for _, index := range s.kind.Indexes {
		if equal && index.Name == req.Field && req.Value != "" {
			s.index, s.value = req.Field, req.Value
		}
	}
}

func (s *selector) check(name string) error {
	if name == fieldName || name == fieldNamespace && (s.kind.Namespaced || s.version.Custom == nil) {
		return nil
	}
	known := s.kind.FieldNames
	if s.version.Custom != nil {
		known = s.version.Custom.FieldNames
	}
	if slices.Contains(known, name) {
		return nil
	}
	if len(known) == 0 && s.version.Custom == nil {
		return apierrors.NewBadRequest(fmt.Sprintf("%q is not a known field selector: only %q, %q", name, fieldName, fieldNamespace))
	}
	return apierrors.NewBadRequest("field label not supported: " + name)
}

// empty says that everything matches.
func (s *selector) empty() bool { return s.labels == nil && len(s.fields) == 0 }

// matches says whether the selectors let obj through.
func (s *selector) matches(obj api.Object) bool {
	if s.labels != nil && !s.labels.Matches(labels.Set(obj.GetLabels())) {
		return false
	}
	var set fields.Set
	if s.kindFields {
		set = s.set(obj)
	}
	for _, req := range s.fields {
		if (s.fieldOf(obj, set, req.Field) == req.Value) == (req.Operator == selection.NotEquals) {
			return false
		}
	}
	return true
}

// set is what can be selected by, of an object of the version that the request speaks. One that cannot be converted to
// it (its webhook does not answer) has no fields: a watch must not end for one object.
func (s *selector) set(obj api.Object) fields.Set {
	if s.version.Custom == nil {
		if s.kind.Fields == nil {
			return nil
		}
		return s.kind.Fields(obj)
	}
	if s.version.Custom.Fields == nil {
		return nil
	}
	spoken, err := s.kind.ConvertTo(obj, s.version)
	if err != nil {
		return nil
	}
	return s.version.Custom.Fields(spoken)
}

func (s *selector) fieldOf(obj api.Object, set fields.Set, name string) string {
	switch name {
	case fieldName:
		return obj.GetName()
	case fieldNamespace:
		return obj.GetNamespace()
	}
	return set[name]
}
