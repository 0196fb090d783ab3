package api

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func controllerRevision() *Kind {
	return &Kind{
		Group: "apps", Kind: "ControllerRevision", Plural: "controllerrevisions", Singular: "controllerrevision", Namespaced: true,
		Versions: []Version{typed[appsv1.ControllerRevision, appsv1.ControllerRevisionList]("apps", "v1")},
		Prefix:   "/registry/controllerrevisions",
		Strategy: Strategy{
			Validate:                 one(validateControllerRevision),
			ValidateUpdate:           pair(validateControllerRevisionUpdate),
			AllowUnconditionalUpdate: true,
		},
		Columns: []Column{
			str("Controller", "object whose revision it is", func(r *appsv1.ControllerRevision) string {
				ref := metav1.GetControllerOf(r)
				if ref == nil {
					return "<none>"
				}
				gv, _ := schema.ParseGroupVersion(ref.APIVersion)
				return lowerKind(gv.WithKind(ref.Kind).GroupKind()) + "/" + ref.Name
			}),
			tally("Revision", "revision number", func(r *appsv1.ControllerRevision) int64 { return r.Revision }),
			age(),
		},
	}
}

// lowerKind names a kind as kubectl does: deployment.apps.
func lowerKind(gk schema.GroupKind) string {
	gk.Kind = strings.ToLower(gk.Kind)
	return gk.String()
}
