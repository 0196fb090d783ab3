package openapi

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"codeberg.org/skiff/skiff/server/api"
)

func documents(t testing.TB, more ...*api.Kind) (*Documents, *api.Catalogue) {
	t.Helper()
	c, err := api.NewCatalogue(api.BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range more {
		if err := c.Add(k); err != nil {
			t.Fatal(err)
		}
	}
	return New(c, "v1.37.2"), c
}

func get(t testing.TB, d *Documents, path, accept string) (string, []byte) {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Accept", accept)
	doc, ok, err := d.Get(path, r)
	if err != nil || !ok {
		t.Fatalf("%s: %v %v", path, ok, err)
	}
	return doc.ETag, doc.Body
}

const widgetSchema = `{"type":"object","required":["spec"],"properties":{
	"spec":{"type":"object","required":["size","note"],"properties":{
		"size":{"type":"integer","format":"int32","enum":[1,2]},
		"note":{"type":"string","nullable":true},
		"any":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"a":{"type":"string"}}},
		"port":{"x-kubernetes-int-or-string":true,"anyOf":[{"type":"integer"},{"type":"string"}]},
		"pod":{"type":"object","x-kubernetes-embedded-resource":true},
		"list":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","properties":{"k":{"type":"string"}}}}}}}}`

func widget(t testing.TB, text string) *api.Kind {
	t.Helper()
	parsed := &spec.Schema{}
	if err := json.Unmarshal([]byte(text), parsed); err != nil {
		t.Fatal(err)
	}
	schema := func() *spec.Schema { return parsed }
	return &api.Kind{Group: "ex.io", Kind: "Widget", Plural: "widgets", Singular: "widget", Namespaced: true, Prefix: "/registry/ex.io/widgets",
		Versions: []api.Version{{Group: "ex.io", Version: "v1", Schema: schema,
			New:     func() api.Object { return &unstructured.Unstructured{} },
			NewList: func() runtime.Object { return &unstructured.UnstructuredList{} }}},
		Subresources: []api.Subresource{{Name: "status", Verbs: []string{"get", "patch", "update"}}},
	}
}

// Every reference of every document must lead somewhere, and gnostic must read both forms.
func TestDocumentsAreWhole(t *testing.T) {
	d, c := documents(t, widget(t, widgetSchema))
	_, v2 := get(t, d, pathV2, jsonType)
	if _, err := openapi_v2.ParseDocument(v2); err != nil {
		t.Fatal(err)
	}
	checkReferences(t, pathV2, v2, "#/definitions/")
	for _, gv := range groupVersions(c.Kinds()) {
		path := pathV3 + "/" + pathOf(gv)
		_, body := get(t, d, path, jsonType)
		checkReferences(t, path, body, "#/components/schemas/")
	}
	_, body := get(t, d, pathV3+"/apis/ex.io/v1", jsonType)
	if _, err := openapi_v3.ParseDocument(body); err != nil {
		t.Fatal(err)
	}
}

func checkReferences(t *testing.T, path string, body []byte, prefix string) {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defs, _ := doc["definitions"].(map[string]any)
	if components, ok := doc["components"].(map[string]any); ok {
		defs = components["schemas"].(map[string]any)
	}
	ids := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok && defs[strings.TrimPrefix(ref, prefix)] == nil {
				t.Errorf("%s: %s leads nowhere", path, ref)
			}
			if id, ok := v["operationId"].(string); ok {
				if ids[id] {
					t.Errorf("%s: operation %s is there twice", path, id)
				}
				ids[id] = true
			}
			for _, value := range v {
				walk(value)
			}
		case []any:
			for _, value := range v {
				walk(value)
			}
		}
	}
	walk(doc)
}

// The two encodings one after the other must read as one document.
func TestProtobufOfParts(t *testing.T) {
	d, _ := documents(t, widget(t, widgetSchema))
	_, data := get(t, d, pathV2, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
	var doc openapi_v2.Document
	if err := proto.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	have := map[string]int{}
	for _, def := range doc.Definitions.AdditionalProperties {
		have[def.Name]++
	}
	for _, name := range []string{"io.k8s.api.core.v1.Pod", "io.ex.v1.Widget", "io.ex.v1.WidgetList"} {
		if have[name] != 1 {
			t.Errorf("%s is there %d times", name, have[name])
		}
	}
	if doc.Swagger != "2.0" || doc.Info.Title != "Kubernetes" {
		t.Errorf("head: %v %v", doc.Swagger, doc.Info)
	}
}

func TestCustomSchema(t *testing.T) {
	d, c := documents(t, widget(t, widgetSchema))
	v2, v3 := customDefinition(t, d, pathV2), customDefinition(t, d, pathV3+"/apis/ex.io/v1")
	for text, def := range map[string]string{
		`"anyOf"`: v3, `"nullable":true`: v3, `"x-kubernetes-list-map-keys":["k"]`: v3, `"required":["kind","apiVersion"]`: v3,
		`"required":["size"]`: v2, `"$ref":"#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"`: v2,
	} {
		if !strings.Contains(def, text) {
			t.Errorf("%s is not in %s", text, def)
		}
	}
	for _, text := range []string{"anyOf", "nullable", `"a":`} {
		if strings.Contains(v2, text) {
			t.Errorf("%s is in v2: %s", text, v2)
		}
	}
	before, _ := get(t, d, pathV3+"/apis/ex.io/v1", jsonType)
	k := c.Kinds()[len(c.Kinds())-1]
	if err := c.Replace(k, widget(t, `{"type":"object","x-kubernetes-preserve-unknown-fields":true}`)); err != nil {
		t.Fatal(err)
	}
	if after, _ := get(t, d, pathV3+"/apis/ex.io/v1", jsonType); after == before {
		t.Error("the etag stayed")
	}
	if def := customDefinition(t, d, pathV2); strings.Contains(def, "properties") {
		t.Errorf("v2 of an open kind: %s", def)
	}
	c.Remove(c.Kinds()[len(c.Kinds())-1])
	if _, body := get(t, d, pathV2, jsonType); bytes.Contains(body, []byte("Widget")) {
		t.Error("a removed kind is still there")
	}
}

func customDefinition(t *testing.T, d *Documents, path string) string {
	t.Helper()
	_, body := get(t, d, path, jsonType)
	var doc struct {
		Definitions map[string]json.RawMessage
		Components  struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	if def := doc.Definitions["io.ex.v1.Widget"]; def != nil {
		return string(def)
	}
	return string(doc.Components.Schemas["io.ex.v1.Widget"])
}

func TestForeign(t *testing.T) {
	d, _ := documents(t)
	d.SetForeign("v1.far.io", Foreign{
		V2: []byte(`{"swagger":"2.0","definitions":{"io.far.v1.Thing":{"type":"object"},"io.k8s.api.core.v1.Pod":{"type":"string"}},"paths":{"/apis/far.io/v1/things":{}}}`),
		V3: map[string][]byte{"apis/far.io/v1": []byte(`{"openapi":"3.0.0"}`)},
	})
	_, v2 := get(t, d, pathV2, jsonType)
	_, index := get(t, d, pathV3, jsonType)
	if !bytes.Contains(v2, []byte("io.far.v1.Thing")) || !bytes.Contains(v2, []byte("/apis/far.io/v1/things")) || !bytes.Contains(index, []byte(`"apis/far.io/v1"`)) {
		t.Error("the other server's documents are missing")
	}
	if _, body := get(t, d, pathV3+"/apis/far.io/v1", jsonType); string(body) != `{"openapi":"3.0.0"}` {
		t.Errorf("%s", body)
	}
	d.SetForeign("v1.far.io", Foreign{V2: []byte("rubbish")})
	if _, v2 := get(t, d, pathV2, jsonType); bytes.Contains(v2, []byte("io.far")) {
		t.Error("the other server's document is still there")
	}
}

// enums.txt against the markers in the sources of k8s.io/api.
func TestEnums(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/api").Output()
	if err != nil {
		t.Skipf("no sources of k8s.io/api: %v", err)
	}
	root := strings.TrimSpace(string(dir))
	marked, values := map[string]bool{}, map[string][]string{}
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, filepath.Dir(path))
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.Contains(rel, "testapigroup") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		if name := filepath.Base(path); !strings.Contains(name, "types") && name != "doc.go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err == nil {
			readEnums(file, strings.ReplaceAll(rel, "/", "."), marked, values)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range marked {
		slices.Sort(values[name])
		have := slices.Clone(enums()[name])
		slices.Sort(have)
		if want := slices.Compact(values[name]); len(want) > 0 && !slices.Equal(have, want) && name != "discovery.v1.AddressType" && name != "discovery.v1beta1.AddressType" {
			t.Errorf("%s: %q in enums.txt, %q in the sources", name, have, want)
		}
	}
	if len(marked) < 90 {
		t.Errorf("only %d enums were found", len(marked))
	}
}

func readEnums(file *ast.File, prefix string, marked map[string]bool, values map[string][]string) {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range gen.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if !s.Assign.IsValid() && strings.Contains(gen.Doc.Text()+s.Doc.Text(), "+enum\n") {
					marked[prefix+"."+s.Name.Name] = true
				}
			case *ast.ValueSpec:
				readValues(s, prefix, values)
			}
		}
	}
}

func readValues(s *ast.ValueSpec, prefix string, values map[string][]string) {
	for _, v := range s.Values {
		typ, _ := s.Type.(*ast.Ident)
		if call, ok := v.(*ast.CallExpr); ok && len(call.Args) == 1 {
			typ, _ = call.Fun.(*ast.Ident)
			v = call.Args[0]
		}
		lit, ok := v.(*ast.BasicLit)
		if !ok || typ == nil || lit.Kind != token.STRING {
			continue
		}
		text, _ := strconv.Unquote(lit.Value)
		if text == "" {
			text = noValue
		}
		values[prefix+"."+typ.Name] = append(values[prefix+"."+typ.Name], text)
	}
}

func BenchmarkV2(b *testing.B) {
	for name, accept := range map[string]string{"json": jsonType, "protobuf": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				d, _ := documents(b)
				get(b, d, pathV2, accept)
			}
		})
	}
	b.Run("after a custom kind changed", func(b *testing.B) {
		d, c := documents(b, widget(b, widgetSchema))
		get(b, d, pathV2, jsonType)
		for b.Loop() {
			if err := c.Replace(c.Kinds()[len(c.Kinds())-1], widget(b, widgetSchema)); err != nil {
				b.Fatal(err)
			}
			get(b, d, pathV2, jsonType)
		}
	})
}
