package openapi

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	clientopenapi "k8s.io/client-go/openapi"
	explain "k8s.io/kubectl/pkg/explain/v2"
)

// published is what kubectl explain reads: the documents of the group versions.
type published struct {
	t        *testing.T
	docs     *Documents
	versions []schema.GroupVersion
}

func (p published) Paths() (map[string]clientopenapi.GroupVersion, error) {
	all := map[string]clientopenapi.GroupVersion{}
	for _, gv := range p.versions {
		all[pathOf(gv)] = publishedVersion{p, pathV3 + "/" + pathOf(gv)}
	}
	return all, nil
}

type publishedVersion struct {
	published
	path string
}

func (v publishedVersion) Schema(accept string) ([]byte, error) {
	_, body := get(v.t, v.docs, v.path, accept)
	return body, nil
}

func (v publishedVersion) ServerRelativeURL() string { return v.path }

// kubectl explain --recursive must work for all that discovery lists, in every version.
func TestEverythingIsExplained(t *testing.T) {
	d, c := documents(t, widget(t, widgetSchema))
	client := published{t, d, groupVersions(c.Kinds())}
	for _, k := range c.Kinds() {
		for i := range k.Versions {
			v := &k.Versions[i]
			gvr := schema.GroupVersionResource{Group: v.Group, Version: v.Version, Resource: k.Plural}
			var text strings.Builder
			if err := explain.PrintModelDescription(nil, &text, client, gvr, true, 0, "plaintext"); err != nil {
				t.Errorf("%s: %v", gvr, err)
				continue
			}
			if !strings.Contains(text.String(), "KIND:       "+k.Kind+"\n") || !strings.Contains(text.String(), "VERSION:    "+v.Version+"\n") {
				t.Errorf("%s is explained as %s", gvr, text.String()[:min(200, text.Len())])
			}
		}
	}
	if err := explain.PrintModelDescription([]string{"nonsense"}, io.Discard, client, schema.GroupVersionResource{Version: "v1", Resource: "pods"}, false, 0, "plaintext"); err == nil {
		t.Error("a field that does not exist is explained")
	}
}

// Every field of the kinds whose Go types carry no documentation has some of ours.
func TestDescriptions(t *testing.T) {
	d, _ := documents(t)
	for _, path := range []string{"apis/apiextensions.k8s.io/v1", "apis/apiregistration.k8s.io/v1"} {
		var doc struct {
			Components struct {
				Schemas map[string]struct {
					Description string
					Properties  map[string]struct{ Description string }
				}
			}
		}
		_, body := get(t, d, pathV3+"/"+path, jsonType)
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Fatal(err)
		}
		for name, def := range doc.Components.Schemas {
			if !strings.Contains(name, ".pkg.apis.apiextensions.") && !strings.Contains(name, ".pkg.apis.apiregistration.") {
				continue
			}
			if def.Description == "" {
				t.Errorf("%s has no description", name)
			}
			for field, p := range def.Properties {
				if p.Description == "" {
					t.Errorf("%s.%s has no description", name, field)
				}
			}
		}
	}
}
