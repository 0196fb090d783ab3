package server

import (
	"strings"
	"testing"

	"codeberg.org/skiff/skiff/server/api"
)

func TestRuntimeConfig(t *testing.T) {
	for _, test := range []struct{ flag, err string }{
		{"api/ga=true", ""},
		{"api/all=true", "off by default are not there"},
		{"api/beta=false", ""},
		{"api/alpha=false", ""},
		{"api/all=false", "cannot be turned off"},
		{"apps/v1", ""},
		{"v1=true", ""},
		{"apps/v1=false", "are held in apps/v1 and cannot be turned off"},
		{"autoscaling/v1=false", ""},
		{"scheduling.k8s.io/v1alpha3=true", "this API is not there"},
		{"scheduling.k8s.io/v1alpha3=false", ""},
		{"resource.k8s.io/v1beta1/resourceclaims=false", ""},
		{"apps/v7=true", "group version apps/v7 that has not been registered"},
		{"nothing.k8s.io/v1=true", "has not been registered"},
		{"apps/v1=perhaps", "expected true or false"},
		{"apps/v1/Deployments=true", "lower-case plural"},
	} {
		_, err := applyRuntimeConfig(api.BuiltIn(), []string{test.flag})
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: got %v, want %q", test.flag, err, test.err)
		}
	}
	kinds, err := applyRuntimeConfig(api.BuiltIn(), []string{"autoscaling/v1=false"})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds {
		for _, v := range k.Versions {
			if v.Group == "autoscaling" && v.Version == "v1" && k.Kind == "HorizontalPodAutoscaler" {
				t.Error("autoscaling/v1 is still there")
			}
		}
	}
	if _, err := api.NewCatalogue(kinds); err != nil {
		t.Error(err)
	}
}
