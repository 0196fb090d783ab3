package customresource

import (
	"fmt"
	"math"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"codeberg.org/skiff/skiff/server/api"
)

// scale is the subresource that shows an object as an autoscaling/v1 Scale, by the paths of the definition.
func (v *version) scale() api.Subresource {
	path := fieldsOf(v.scaleSpec.SpecReplicasPath)
	return api.Subresource{
		Name: "scale", Verbs: readWrite, GVK: autoscalingv1.SchemeGroupVersion.WithKind("Scale"),
		New:          func() runtime.Object { return &autoscalingv1.Scale{} },
		ReplicasPath: path,
		Has: func(stored api.Object) error {
			if _, found, err := v.replicasOf(stored.(*unstructured.Unstructured)); found || err != nil {
				return err
			}
			return fmt.Errorf("the spec replicas field %q does not exist", v.scaleSpec.SpecReplicasPath)
		},
		Project: func(stored api.Object) (runtime.Object, error) { return v.scaleOf(stored.(*unstructured.Unstructured)) },
		Inject: func(stored api.Object, sent runtime.Object) (api.Object, error) {
			wish, ok := sent.(*autoscalingv1.Scale)
			if !ok {
				return nil, fmt.Errorf("wrong object passed to Scale update: %T", sent)
			}
			if wish.Spec.Replicas == unsetReplicas {
				return nil, fmt.Errorf("the spec replicas field %q cannot be empty", v.scaleSpec.SpecReplicasPath)
			}
			old := stored.(*unstructured.Unstructured)
			to := old.DeepCopy()
			if err := unstructured.SetNestedField(to.Object, int64(wish.Spec.Replicas), path...); err != nil {
				return nil, err
			}
			bump(to, old)
			return to, nil
		},
		Validate: func(obj, old api.Object) field.ErrorList { return v.validateUpdate(both(obj, old)) },
	}
}

// unsetReplicas is what a patch of a Scale begins with when the object has no number, so that one which leaves it alone can be told.
const unsetReplicas = math.MinInt32

func (v *version) replicasOf(obj *unstructured.Unstructured) (n int64, found bool, err error) {
	return unstructured.NestedInt64(obj.Object, fieldsOf(v.scaleSpec.SpecReplicasPath)...)
}

func (v *version) scaleOf(obj *unstructured.Unstructured) (*autoscalingv1.Scale, error) {
	want, found, err := v.replicasOf(obj)
	if err != nil {
		return nil, err
	}
	if !found {
		want = unsetReplicas
	}
	have, _, err := unstructured.NestedInt64(obj.Object, fieldsOf(v.scaleSpec.StatusReplicasPath)...)
	if err != nil {
		return nil, err
	}
	selector := ""
	if path := v.scaleSpec.LabelSelectorPath; path != nil && *path != "" {
		if selector, _, err = unstructured.NestedString(obj.Object, fieldsOf(*path)...); err != nil {
			return nil, err
		}
	}
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
			ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: int32(want)},
		Status: autoscalingv1.ScaleStatus{Replicas: int32(have), Selector: selector},
	}, nil
}
