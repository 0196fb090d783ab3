package fairness

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
)

// Bootstrap is what a cluster begins with: upstream's mandatory and suggested objects.
func Bootstrap() (schemas []*flowcontrolv1.FlowSchema, levels []*flowcontrolv1.PriorityLevelConfiguration) {
	schemas = append(mandatorySchemas(), copies(bootstrap.SuggestedFlowSchemas)...)
	return schemas, append(mandatoryLevels(), copies(bootstrap.SuggestedPriorityLevelConfigurations)...)
}

func mandatorySchemas() []*flowcontrolv1.FlowSchema { return copies(bootstrap.MandatoryFlowSchemas) }

func mandatoryLevels() []*flowcontrolv1.PriorityLevelConfiguration {
	return copies(bootstrap.MandatoryPriorityLevelConfigurations)
}

type object[T any] interface {
	DeepCopy() T
	metav1.Object
}

// copies of objects, without the kind, which stored objects do not carry, and with the annotation that says that the
// server keeps them up to date.
func copies[T object[T]](in []T) []T {
	out := make([]T, len(in))
	for i, obj := range in {
		out[i] = obj.DeepCopy()
		out[i].SetAnnotations(map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"})
	}
	return out
}

// kept says whether the server puts an existing object's spec right: the mandatory ones always, the suggested ones
// unless the annotation says otherwise.
func kept(have metav1.Object, mandatory bool) bool {
	return mandatory || have.GetAnnotations()[flowcontrolv1.AutoUpdateAnnotationKey] == "true"
}

// same specs after defaulting.
func same(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
