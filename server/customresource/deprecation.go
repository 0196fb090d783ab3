package customresource

import (
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiversion "k8s.io/apimachinery/pkg/version"
)

// deprecation is the warning that every request through a deprecated version gets: the definition's own text, or one that
// names the best version to use instead.
func deprecation(d *Definition, v *apiextensionsv1.CustomResourceDefinitionVersion) string {
	if !v.Deprecated {
		return ""
	}
	if v.DeprecationWarning != nil {
		return *v.DeprecationWarning
	}
	text := fmt.Sprintf("%s/%s %s is deprecated", d.Spec.Group, v.Name, d.Spec.Names.Kind)
	best := ""
	for _, other := range d.Spec.Versions {
		if other.Served && !other.Deprecated && newer(other.Name, v.Name) && (best == "" || newer(other.Name, best)) {
			best = other.Name
		}
	}
	if best != "" {
		text += fmt.Sprintf("; use %s/%s %s", d.Spec.Group, best, d.Spec.Names.Kind)
	}
	return text
}

func newer(a, b string) bool { return apiversion.CompareKubeAwareVersionStrings(a, b) > 0 }
