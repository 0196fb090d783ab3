package openapi

import (
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
)

// methods of HTTP by the verb that authorizes them.
var methods = []struct{ verb, method string }{
	{"delete", "delete"}, {"get", "get"}, {"get", "head"}, {"get", "options"}, {"patch", "patch"}, {"create", "post"}, {"update", "put"},
}

// connect writes a stream or a proxy, whose options come in the query.
func (o *operations) connect(s *api.Subresource, path string, gvk schema.GroupVersionKind) {
	if s.Name == "log" {
		o.log(path, gvk)
		return
	}
	if s.GVK.Kind != "" {
		gvk = s.GVK
	}
	var options any
	if s.New != nil {
		options = s.New()
	}
	proxies := slices.Contains(s.Verbs, "update")
	item, below := object{}, object{}
	for _, m := range methods {
		if !slices.Contains(s.Verbs, m.verb) || !proxies && (m.method == "head" || m.method == "options") {
			continue
		}
		item[m.method] = o.connection(m.method, s.Name, "", gvk)
		below[m.method] = o.connection(m.method, s.Name, "WithPath", gvk)
	}
	parameters := append(o.inPath(gvk.Kind), o.fieldsAsQuery(options)...)
	item["parameters"] = parameters
	o.paths[path] = item
	if proxies {
		below["parameters"] = append(parameters[:len(parameters):len(parameters)], o.parameter("path", "path", "string", "path to the resource"))
		o.paths[path+"/{path}"] = below
	}
}

func (o *operations) connection(method, name, suffix string, gvk schema.GroupVersionKind) object {
	id := "connect" + groupID(o.gv()) + title(method)
	if o.kind.Namespaced {
		id += "Namespaced"
	}
	return o.textOperation(id+o.kind.Kind+title(name)+suffix, "connect "+strings.ToUpper(method)+" requests to "+name+" of "+o.kind.Kind, "connect", gvk, anyType)
}

// log is a read of text.
func (o *operations) log(path string, gvk schema.GroupVersionKind) {
	id := operationID(o.gv(), o.kind, call{verb: "get", suffix: "log"})
	item := object{"get": o.textOperation(id, "read log of the specified "+o.kind.Kind, "get", gvk, append([]string{"text/plain"}, answerTypes...))}
	item["parameters"] = append(append(o.inPath(gvk.Kind), o.fieldsAsQuery(&corev1.PodLogOptions{})...), o.query("pretty"))
	o.paths[path] = item
}

func (o *operations) textOperation(id, text, action string, gvk schema.GroupVersionKind, types []string) object {
	answer := object{"description": "OK"}
	op := object{
		"operationId": id, "description": text, "tags": []string{tag(o.gv())}, "x-kubernetes-action": action,
		"x-kubernetes-group-version-kind": object{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind},
		"responses":                       object{"200": answer, "401": object{"description": "Unauthorized"}},
	}
	if o.v3 {
		content := object{}
		for _, t := range types {
			content[t] = object{"schema": object{"type": "string"}}
		}
		answer["content"] = content
		return op
	}
	answer["schema"] = object{"type": "string"}
	op["consumes"], op["produces"], op["schemes"] = anyType, types, []string{"https"}
	return op
}

func (o *operations) inPath(kind string) []any {
	parameters := []any{o.parameter("name", "path", "string", "name of the "+kind)}
	if o.kind.Namespaced {
		parameters = append(parameters, o.parameter("namespace", "path", "string", "object name and auth scope, such as for teams and projects"))
	}
	return parameters
}

// fieldsAsQuery makes a query parameter of every field of an options type.
func (o *operations) fieldsAsQuery(options any) []any {
	if _, ok := options.(runtime.Object); !ok {
		return nil
	}
	t := reflect.TypeOf(options).Elem()
	docs := swaggerDoc(t)
	var out []any
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "" || name == "-" {
			continue
		}
		elem := f.Type
		for elem.Kind() == reflect.Pointer || elem.Kind() == reflect.Slice {
			elem = elem.Elem()
		}
		typ := "string"
		switch elem.Kind() {
		case reflect.Bool:
			typ = "boolean"
		case reflect.Int, reflect.Int32, reflect.Int64:
			typ = "integer"
		}
		out = append(out, o.parameter(name, "query", typ, docs[name]))
	}
	return out
}
