package customresource

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/api"
)

var readWrite = []string{"get", "patch", "update"}

// status is the subresource that writes status and nothing else.
func (v *version) status() api.Subresource {
	return api.Subresource{
		Name: "status", Verbs: readWrite,
		Inject: func(stored api.Object, sent runtime.Object) (api.Object, error) {
			from, ok := sent.(*unstructured.Unstructured)
			if !ok {
				return nil, fmt.Errorf("expected an object of kind %s, got a %T", v.gvk.Kind, sent)
			}
			to := stored.DeepCopyObject().(*unstructured.Unstructured)
			// Only the status gets defaults: those of this version for the rest are not to be stored by who writes status.
			only := &unstructured.Unstructured{Object: map[string]any{}}
			if status, ok := from.Object["status"]; ok {
				only.Object["status"] = runtime.DeepCopyJSONValue(status)
			}
			v.applyDefaults(only)
			if status, ok := only.Object["status"]; ok {
				to.Object["status"] = status
			} else {
				delete(to.Object, "status")
			}
			return to, nil
		},
		Validate: func(obj, old api.Object) field.ErrorList { return v.validateStatus(both(obj, old)) },
	}
}
