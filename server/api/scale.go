package api

import (
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// scaleView is what a scale subresource needs to know of a kind.
type scaleView struct {
	// wanted is spec.replicas, found what status counts, selector the pods' selector as a string.
	wanted   **int32
	found    int32
	selector string
}

// scale is the scale subresource of a kind, seen through view, which points into the object it is given.
func scale[T Object](view func(T) (scaleView, error)) Subresource {
	return Subresource{
		Name: "scale", Verbs: readWrite,
		GVK: schema.GroupVersionKind{Group: "autoscaling", Version: "v1", Kind: "Scale"},
		New: func() runtime.Object { return &autoscalingv1.Scale{} },
		Project: func(stored Object) (runtime.Object, error) {
			v, err := view(stored.(T))
			if err != nil {
				return nil, err
			}
			return &autoscalingv1.Scale{
				TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v1", Kind: "Scale"},
				ObjectMeta: metav1.ObjectMeta{
					Name: stored.GetName(), Namespace: stored.GetNamespace(), UID: stored.GetUID(),
					ResourceVersion: stored.GetResourceVersion(), CreationTimestamp: stored.GetCreationTimestamp(),
				},
				Spec:   autoscalingv1.ScaleSpec{Replicas: deref(*v.wanted)},
				Status: autoscalingv1.ScaleStatus{Replicas: v.found, Selector: v.selector},
			}, nil
		},
		Inject: func(stored Object, sent runtime.Object) (Object, error) {
			s, ok := sent.(*autoscalingv1.Scale)
			if !ok {
				return nil, fmt.Errorf("expected a Scale, got a %T", sent)
			}
			obj := stored.DeepCopyObject().(T)
			v, err := view(obj)
			if err != nil {
				return nil, err
			}
			replicas := s.Spec.Replicas
			bump(obj, obj, deref(*v.wanted) != replicas)
			*v.wanted = &replicas
			if s.ResourceVersion != "" {
				obj.SetResourceVersion(s.ResourceVersion)
			}
			return obj, nil
		},
		Validate: pair(func(obj, old T) field.ErrorList {
			v, err := view(obj)
			if err != nil {
				return field.ErrorList{field.InternalError(nil, err)}
			}
			return nonNegative(int64(deref(*v.wanted)), field.NewPath("spec", "replicas"))
		}),
	}
}

func selectorString(s *metav1.LabelSelector) (string, error) {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return "", err
	}
	return sel.String(), nil
}

// ScaleColumns are the columns of a table of Scales, after their names.
var ScaleColumns = []Column{
	num("Desired", "how many replicas are wanted", func(s *autoscalingv1.Scale) int32 { return s.Spec.Replicas }),
	num("Available", "how many replicas there are", func(s *autoscalingv1.Scale) int32 { return s.Status.Replicas }),
	age(),
}
