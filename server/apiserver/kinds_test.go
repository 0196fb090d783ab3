package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/api/samples"
)

// TestLifeOfEveryKind takes a small object of every kind through everything that clients do with objects. A new kind
// needs a sample in server/api/samples, and nothing more.
func TestLifeOfEveryKind(t *testing.T) {
	all, err := samples.All()
	if err != nil {
		t.Fatal(err)
	}
	e := newEnv(t)
	for _, k := range api.BuiltIn() {
		if k.Virtual || k.Verbs != nil && !slices.Contains(k.Verbs, "create") {
			continue
		}
		t.Run(k.Kind, func(t *testing.T) {
			body, ok := all[k.GVK()]
			if !ok {
				t.Fatalf("server/api/samples has no %s", k.GVK())
			}
			l := &life{T: t, env: e, kind: k, body: body}
			l.run()
		})
	}
}

type life struct {
	*testing.T
	*env
	kind *api.Kind
	body []byte
	// collection and object are paths.
	collection, object, name string
	created                  string // resourceVersion
}

// ask fails unless the answer has the code, and decodes it.
func (l *life) ask(code int, method, path, body string, headers ...string) map[string]any {
	l.Helper()
	w := l.do(method, path, body, headers...)
	if w.Code != code {
		l.Fatalf("%s %s: %d, not %d: %s", method, path, w.Code, code, w.Body)
	}
	out := map[string]any{}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		l.Fatalf("%s %s: %v: %s", method, path, err, w.Body)
	}
	return out
}

func field(o map[string]any, path ...string) any {
	var v any = o
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func (l *life) run() {
	gvr := l.kind.GVR()
	base := "/api/v1"
	if gvr.Group != "" {
		base = "/apis/" + gvr.Group + "/" + gvr.Version
	}
	if l.kind.Namespaced {
		base += "/namespaces/default"
	}
	var sent metav1.PartialObjectMetadata
	if err := json.Unmarshal(l.body, &sent); err != nil {
		l.Fatal(err)
	}
	l.collection, l.name = base+"/"+gvr.Resource, sent.Name
	l.object = l.collection + "/" + sent.Name

	l.ask(201, "POST", l.collection+"?dryRun=All&fieldValidation=Strict", string(l.body), "Content-Type: application/json")
	l.ask(404, "GET", l.object, "")
	l.created, _ = field(l.ask(201, "POST", l.collection, string(l.body), "Content-Type: application/json"), "metadata", "resourceVersion").(string)
	l.reads()
	l.writes()
	l.statuses()
	l.ends()
}

func (l *life) reads() {
	got := l.ask(200, "GET", l.object, "")
	if got["kind"] != l.kind.Kind || field(got, "metadata", "uid") == nil || got["apiVersion"] != l.kind.GVK().GroupVersion().String() {
		l.Errorf("it reads as %v", got)
	}
	list := l.ask(200, "GET", l.collection+"?fieldSelector=metadata.name%3D"+l.name, "")
	if items, _ := list["items"].([]any); list["kind"] != l.kind.Kind+"List" || len(items) != 1 {
		l.Errorf("it lists as %v", list)
	}
	for _, f := range l.kind.FieldNames {
		l.ask(200, "GET", l.collection+"?fieldSelector="+f+"%3Dx", "")
	}
	table := l.ask(200, "GET", l.object, "", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io")
	columns, _ := table["columnDefinitions"].([]any)
	row, _ := table["rows"].([]any)
	if cells, _ := field(row[0].(map[string]any), "cells").([]any); len(cells) != len(columns) || len(cells) == 0 {
		l.Errorf("%d columns for the cells %v", len(columns), cells)
	}
	l.protobuf(got)
}

// protobuf says the same as JSON.
func (l *life) protobuf(got map[string]any) {
	w := l.do("GET", l.object, "", "Accept: application/vnd.kubernetes.protobuf")
	if w.Code != 200 || !bytes.HasPrefix(w.Body.Bytes(), []byte("k8s\x00")) {
		l.Fatalf("protobuf: %d %q", w.Code, w.Body)
	}
	fromProtobuf, fromJSON := l.kind.Hub().New(), l.kind.Hub().New()
	if _, _, err := protobuf.NewSerializer(api.Scheme, api.Scheme).Decode(w.Body.Bytes(), nil, fromProtobuf); err != nil {
		l.Fatal(err)
	}
	b, err := json.Marshal(got)
	if err == nil {
		err = json.Unmarshal(b, fromJSON)
	}
	if err != nil {
		l.Fatal(err)
	}
	fromProtobuf.GetObjectKind().SetGroupVersionKind(l.kind.GVK())
	if !apiequality.Semantic.DeepEqual(fromProtobuf, fromJSON) {
		l.Errorf("protobuf says\n%+v\nJSON\n%+v", fromProtobuf, fromJSON)
	}
}

func (l *life) writes() {
	got := l.ask(200, "GET", l.object, "")
	field(got, "metadata").(map[string]any)["labels"] = map[string]any{"put": "yes"}
	b, err := json.Marshal(got)
	if err != nil {
		l.Fatal(err)
	}
	l.ask(200, "PUT", l.object, string(b), "Content-Type: application/json")
	field(got, "metadata").(map[string]any)["resourceVersion"] = "1"
	if b, err = json.Marshal(got); err != nil {
		l.Fatal(err)
	}
	l.ask(409, "PUT", l.object, string(b), "Content-Type: application/json")
	for _, p := range []struct{ how, body string }{
		{"merge-patch+json", `{"metadata":{"labels":{"merge":"yes"}}}`},
		{"strategic-merge-patch+json", `{"metadata":{"labels":{"strategic":"yes"}}}`},
		{"json-patch+json", `[{"op":"add","path":"/metadata/labels/json","value":"yes"}]`},
		{"apply-patch+yaml", fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"name":%q,"labels":{"apply":"yes"}}}`,
			l.kind.GVK().GroupVersion(), l.kind.Kind, l.name)},
	} {
		l.ask(200, "PATCH", l.object+"?fieldManager=test", p.body, "Content-Type: application/"+p.how)
	}
	meta, _ := field(l.ask(200, "GET", l.object, ""), "metadata").(map[string]any)
	for _, label := range []string{"put", "merge", "strategic", "json", "apply"} {
		if field(meta, "labels", label) != "yes" {
			l.Errorf("the write %q left no label: %v", label, meta["labels"])
		}
	}
	if managers := fmt.Sprint(meta["managedFields"]); !strings.Contains(managers, "f:apply") || !strings.Contains(managers, "Apply") {
		l.Errorf("nobody owns what was applied: %v", managers)
	}
}

func (l *life) statuses() {
	if l.kind.Subresource("status") == nil {
		w := l.do("GET", l.object+"/status", "")
		if w.Code != 404 {
			l.Errorf("there is a status, but the kind has none: %d", w.Code)
		}
		return
	}
	got := l.ask(200, "GET", l.object+"/status", "")
	b, err := json.Marshal(got)
	if err != nil {
		l.Fatal(err)
	}
	l.ask(200, "PUT", l.object+"/status", string(b), "Content-Type: application/json")
	l.ask(200, "PATCH", l.object+"/status", `{"metadata":{"annotations":{"a":"b"}}}`, "Content-Type: application/merge-patch+json")
	if after := l.ask(200, "GET", l.object, ""); !apiequality.Semantic.DeepEqual(after["spec"], got["spec"]) {
		l.Errorf("the status update changed the spec from %v to %v", got["spec"], after["spec"])
	}
}

// watched cancels a watch when it has seen what it waits for.
type watched struct {
	*httptest.ResponseRecorder
	until  string
	cancel func()
}

func (w *watched) Write(b []byte) (int, error) {
	n, err := w.ResponseRecorder.Write(b)
	if strings.Contains(w.Body.String(), w.until) {
		w.cancel()
	}
	return n, err
}

func (l *life) ends() {
	l.ask(200, "DELETE", l.object, "")
	until := `"type":"DELETED"`
	if l.do("GET", l.object, "").Code == 200 { // a namespace goes when it is empty
		until = "deletionTimestamp"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	w := &watched{httptest.NewRecorder(), until, cancel}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, l.collection+"?watch=1&resourceVersion="+l.created, nil)
	r.Header.Set("Authorization", "Bearer admin")
	l.ServeHTTP(w, r)
	if got := w.Body.String(); !strings.Contains(got, until) || !strings.Contains(got, `"type":"MODIFIED"`) {
		l.Errorf("the watch saw %s", got)
	}
	if until != "deletionTimestamp" {
		l.ask(201, "POST", l.collection+"?fieldManager=again", string(l.body), "Content-Type: application/json")
		l.ask(200, "DELETE", l.collection+"?fieldSelector=metadata.name%3D"+l.name, "")
		l.ask(404, "GET", l.object, "")
	}
}
