package registry

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/api"
)

const (
	// generatedSuffix random characters end a generated name, whose first part is cut to leave room in 63.
	generatedSuffix = 5
	generatedBase   = 63 - generatedSuffix
	// generateAttempts to find a name that is not taken.
	generateAttempts = 8
)

// generateName makes a name of metadata.generateName.
func generateName(base string) string {
	if len(base) > generatedBase {
		base = base[:generatedBase]
	}
	return base + rand.String(generatedSuffix)
}

// ensureNamespace gives obj the request's namespace and refuses another one. From an object of a kind without namespaces it
// takes the one which many manifests give it.
func ensureNamespace(req Request, obj api.Object) error {
	if !req.Kind.Namespaced {
		obj.SetNamespace("")
		return nil
	}
	if req.Namespace == "" {
		return apierrors.NewBadRequest("an empty namespace may not be set during creation")
	}
	switch obj.GetNamespace() {
	case req.Namespace:
	case "":
		obj.SetNamespace(req.Namespace)
	default:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// ensureName gives obj the request's name and refuses another one.
func ensureName(req Request, obj api.Object) error {
	switch {
	case req.Name == "" || obj.GetName() == req.Name:
	case obj.GetName() == "":
		obj.SetName(req.Name)
	default:
		return apierrors.NewBadRequest("the name of the object (" + obj.GetName() + ") does not match the name on the URL (" + req.Name + ")")
	}
	return nil
}

// stampNew sets what only the server may set on a new object.
func (r *Registry) stampNew(obj api.Object) {
	obj.SetUID(uuid.NewUUID())
	obj.SetCreationTimestamp(r.Now())
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
	clearType(obj)
}

// clearType empties the TypeMeta of a typed object: in memory the kind is known from the Go type. Custom objects are
// maps and keep it.
func clearType(obj runtime.Object) {
	if _, custom := obj.(runtime.Unstructured); !custom {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	}
}

func validateNewMeta(k *api.Kind, obj api.Object) field.ErrorList {
	return validation.ValidateObjectMetaAccessor(obj, k.Namespaced, nameRule(k), field.NewPath("metadata"))
}

func validateMetaUpdate(obj, old api.Object) field.ErrorList {
	return validation.ValidateObjectMetaAccessorUpdate(obj, old, field.NewPath("metadata"))
}

func nameRule(k *api.Kind) validation.ValidateNameFunc {
	if k.ValidateName != nil {
		return k.ValidateName
	}
	return validation.NameIsDNSSubdomain
}

// invalid is 422 with every field that is wrong; nil if none is.
func invalid(k *api.Kind, name string, errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: k.Group, Kind: k.Kind}, name, errs)
}
