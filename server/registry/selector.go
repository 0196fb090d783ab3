package registry

import (
	"fmt"

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
	kind   *api.Kind
	labels labels.Selector // nil: everything
	fields fields.Requirements
	// name and namespace are what equality requirements on these fields ask for; index and value what one on an indexed
	// field does. They choose a cheap way to the candidates, which are then matched in full.
	name, namespace string
	index, value    string
	// kindFields is set when a requirement needs Kind.Fields.
	kindFields bool
}

// newSelector checks that the kind has all the fields that are selected.
func newSelector(k *api.Kind, byLabel labels.Selector, byField fields.Selector) (selector, error) {
	s := selector{kind: k}
	if byLabel != nil && !byLabel.Empty() {
		s.labels = byLabel
	}
	if byField == nil || byField.Empty() {
		return s, nil
	}
	s.fields = byField.Requirements()
	for _, req := range s.fields {
		if err := checkField(k, req.Field); err != nil {
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

func checkField(k *api.Kind, name string) error {
	if name == fieldName || name == fieldNamespace {
		return nil
	}
	for _, known := range k.FieldNames {
		if known == name {
			return nil
		}
	}
	if len(k.FieldNames) == 0 {
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
	if s.kindFields && s.kind.Fields != nil {
		set = s.kind.Fields(obj)
	}
	for _, req := range s.fields {
		if (s.fieldOf(obj, set, req.Field) == req.Value) == (req.Operator == selection.NotEquals) {
			return false
		}
	}
	return true
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
