package customresource

import (
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestScaleWithoutReplicas: an object without the number has no scale to show, but may be given one.
func TestScaleWithoutReplicas(t *testing.T) {
	v := &version{scaleSpec: &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.replicas", StatusReplicasPath: ".status.replicas"}}
	scale := v.scale()
	obj := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "a"}, "spec": map[string]any{}}}
	if err := scale.Has(obj); err == nil || err.Error() != `the spec replicas field ".spec.replicas" does not exist` {
		t.Errorf("has: %v", err)
	}
	shown, err := scale.Project(obj)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := scale.Inject(obj, shown); err == nil || err.Error() != `the spec replicas field ".spec.replicas" cannot be empty` {
		t.Errorf("a patch that leaves it alone: %v", err)
	}
	wish := shown.DeepCopyObject().(*autoscalingv1.Scale)
	wish.Spec.Replicas = 2
	next, err := scale.Inject(obj, wish)
	if err != nil {
		t.Fatal(err)
	}
	if err := scale.Has(next); err != nil {
		t.Errorf("after scaling: %v", err)
	}
}
