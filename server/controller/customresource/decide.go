package customresource

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/api"
)

type (
	definition = apiextensionsv1.CustomResourceDefinition
	condition  = apiextensionsv1.CustomResourceDefinitionCondition
)

// facts are what a decision needs beside the definition itself.
type facts struct {
	// taken are the names that others of the group have been given.
	resources, kinds map[string]bool
	// problem is why the definition cannot be served; nil if it can, or if its names are not accepted yet.
	problem error
	// served says that this server serves the definition.
	served bool
}

// decide changes d, a copy, to the status that it should have, and says whether that is another one.
func decide(d *definition, f facts, now metav1.Time) (changed bool) {
	changed = decideNames(d, f, now)
	changed = decideEstablished(d, f, now) || changed
	changed = decideStructural(d, now) || changed
	return decideApproval(d, now) || changed
}

// decideNames gives the definition the names that it asks for and nobody else has. A name that is taken leaves the one
// it had before.
func decideNames(d *definition, f facts, now metav1.Time) bool {
	want, have := d.Spec.Names, d.Status.AcceptedNames.DeepCopy()
	c := condition{Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found"}
	conflict := func(reason string, names ...string) {
		for i := range names {
			names[i] = fmt.Sprintf("%q is already in use", names[i])
		}
		text := strings.Join(names, ", ")
		if len(names) > 1 {
			text = "[" + text + "]"
		}
		c.Status, c.Reason, c.Message = apiextensionsv1.ConditionFalse, reason, text
	}
	one := func(want string, have *string, taken map[string]bool, reason string) {
		if want != *have && taken[want] {
			conflict(reason, want)
			return
		}
		*have = want
	}
	one(want.Plural, &have.Plural, f.resources, "PluralConflict")
	one(want.Singular, &have.Singular, f.resources, "SingularConflict")
	var clashes []string
	for _, short := range want.ShortNames {
		if !slices.Contains(have.ShortNames, short) && f.resources[short] {
			clashes = append(clashes, short)
		}
	}
	if len(clashes) > 0 {
		conflict("ShortNamesConflict", clashes...)
	} else {
		have.ShortNames = want.ShortNames
	}
	one(want.Kind, &have.Kind, f.kinds, "KindConflict")
	one(want.ListKind, &have.ListKind, f.kinds, "ListKindConflict")
	have.Categories = want.Categories
	changed := !sameNames(&d.Status.AcceptedNames, have)
	d.Status.AcceptedNames = *have
	return api.SetDefinitionCondition(d, c, now) || changed
}

func sameNames(a, b *apiextensionsv1.CustomResourceDefinitionNames) bool {
	return a.Plural == b.Plural && a.Singular == b.Singular && a.Kind == b.Kind && a.ListKind == b.ListKind &&
		slices.Equal(a.ShortNames, b.ShortNames) && slices.Equal(a.Categories, b.Categories)
}

// decideEstablished says that objects can be stored, once this server serves the definition. What is established stays so.
func decideEstablished(d *definition, f facts, now metav1.Time) bool {
	if api.DefinitionIs(d, apiextensionsv1.Established) {
		return false
	}
	c := condition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse, Reason: "NotAccepted", Message: "not all names are accepted"}
	switch {
	case !api.DefinitionIs(d, apiextensionsv1.NamesAccepted):
	case badBundle(d):
		c.Reason, c.Message = "InvalidCABundle", "The conversion webhook CABundle is invalid"
	case f.problem != nil:
		c.Reason, c.Message = "NotServable", f.problem.Error()
	case !f.served:
		c.Reason, c.Message = "Installing", "the initial names have been accepted"
	default:
		c.Status, c.Reason, c.Message = apiextensionsv1.ConditionTrue, "InitialNamesAccepted", "the initial names have been accepted"
	}
	return api.SetDefinitionCondition(d, c, now)
}

// badBundle: the conversion webhook's certificates are set and none of them can be read.
func badBundle(d *definition) bool {
	c := d.Spec.Conversion
	if c == nil || c.Webhook == nil || c.Webhook.ClientConfig == nil {
		return false
	}
	rest := c.Webhook.ClientConfig.CABundle
	if len(bytes.TrimSpace(rest)) == 0 {
		return len(rest) > 0
	}
	for found := false; ; found = true {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return !found
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return true
		}
	}
}

// decideStructural says what keeps an old definition's schema from being structural. Validation refuses new ones.
func decideStructural(d *definition, now metav1.Time) bool {
	errs := field.ErrorList{}
	if d.Spec.PreserveUnknownFields {
		errs = append(errs, field.Invalid(field.NewPath("spec", "preserveUnknownFields"), true, "must be false"))
	}
	c := condition{Type: apiextensionsv1.NonStructuralSchema, Status: apiextensionsv1.ConditionTrue, Reason: "Violations"}
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		props := &apiextensions.JSONSchemaProps{}
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(v.Schema.OpenAPIV3Schema, props, nil); err != nil {
			continue
		}
		s, err := structuralschema.NewStructural(props)
		if err != nil {
			c.Status, c.Reason, c.Message = apiextensionsv1.ConditionUnknown, "StructuralError", fmt.Sprintf("failed to check validation schema for version %s: %v", v.Name, err)
			return api.SetDefinitionCondition(d, c, now)
		}
		errs = append(errs, structuralschema.ValidateStructural(field.NewPath("spec", "versions").Index(i).Child("schema", "openAPIV3Schema"), s)...)
	}
	if len(errs) == 0 {
		return removeCondition(d, apiextensionsv1.NonStructuralSchema)
	}
	c.Message = errs.ToAggregate().Error()
	return api.SetDefinitionCondition(d, c, now)
}

func removeCondition(d *definition, t apiextensionsv1.CustomResourceDefinitionConditionType) bool {
	n := len(d.Status.Conditions)
	d.Status.Conditions = slices.DeleteFunc(d.Status.Conditions, func(c condition) bool { return c.Type == t })
	return len(d.Status.Conditions) != n
}

// decideApproval says whether a definition in one of Kubernetes' own groups was approved, by its annotation.
func decideApproval(d *definition, now metav1.Time) bool {
	if !apihelpers.IsProtectedCommunityGroup(d.Spec.Group) {
		return false
	}
	state, reason := apihelpers.GetAPIApprovalState(d.Annotations)
	c := condition{Type: apiextensionsv1.KubernetesAPIApprovalPolicyConformant, Status: apiextensionsv1.ConditionFalse, Message: reason}
	switch state {
	case apihelpers.APIApprovalInvalid:
		c.Reason = "InvalidAnnotation"
	case apihelpers.APIApprovalMissing:
		c.Reason = "MissingAnnotation"
	case apihelpers.APIApproved:
		c.Status, c.Reason = apiextensionsv1.ConditionTrue, "ApprovedAnnotation"
	case apihelpers.APIApprovalBypassed:
		c.Reason = "UnapprovedAnnotation"
	default:
		c.Status, c.Reason = apiextensionsv1.ConditionUnknown, "UnknownAnnotation"
	}
	return api.SetDefinitionCondition(d, c, now)
}
