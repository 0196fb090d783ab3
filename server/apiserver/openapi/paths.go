package openapi

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
)

// operations writes the paths of one version of one kind, and defines the types that they speak of.
type operations struct {
	*definitions
	kind    *api.Kind
	version *api.Version
	paths   object
}

func (o *operations) gv() schema.GroupVersion {
	return schema.GroupVersion{Group: o.version.Group, Version: o.version.Version}
}

func (o *operations) write() {
	gvk := o.gv().WithKind(o.kind.Kind)
	body := o.body(o.kind, o.version, gvk)
	list := body
	if o.version.NewList != nil && !isCustom(o.kind) {
		list = o.addKind(o.version.NewList(), o.gv().WithKind(gvk.Kind+"List"))
	}
	root := "/" + pathOf(o.gv())
	collection := root + "/" + o.kind.Plural
	if o.kind.Namespaced {
		if o.has("list") {
			o.paths[collection] = object{"get": o.operation("list", "list", gvk, "ForAllNamespaces", "", list, listParameters...)}
		}
		collection = root + "/namespaces/{namespace}/" + o.kind.Plural
	}
	all, one := object{}, object{}
	add := func(item object, method, verb, action, sent, got string, parameters ...string) {
		if o.has(verb) {
			item[method] = o.operation(verb, action, gvk, "", sent, got, parameters...)
		}
	}
	status := o.add(&metav1.Status{})
	options := o.addKind(&metav1.DeleteOptions{}, o.gv().WithKind("DeleteOptions"))
	add(all, "get", "list", "list", "", list, listParameters...)
	add(all, "post", "create", "post", body, body, writeParameters...)
	add(all, "delete", "deletecollection", "deletecollection", options, status, append(listParameters, deleteParameters...)...)
	add(one, "get", "get", "get", "", body)
	add(one, "put", "update", "put", body, body, writeParameters...)
	add(one, "patch", "patch", "patch", o.patchBody(), body, append(writeParameters, "force")...)
	add(one, "delete", "delete", "delete", options, status, deleteParameters...)
	o.set(collection, all, o.kind.Namespaced)
	o.set(collection+"/{name}", one, o.kind.Namespaced, "name")
	for i := range o.kind.Subresources {
		o.subresource(&o.kind.Subresources[i], collection, gvk, body)
	}
}

func (o *operations) subresource(s *api.Subresource, collection string, gvk schema.GroupVersionKind, body string) {
	if s.GVK.Kind != "" {
		gvk = s.GVK
		body = ""
		if s.New != nil && !slices.Contains(s.Verbs, "connect") { // a stream's options come in the query
			body = o.addKind(s.New(), s.GVK)
		}
	}
	item := object{}
	for _, verb := range s.Verbs {
		switch verb {
		case "get":
			item["get"] = o.operation("get", "get", gvk, s.Name, "", body)
		case "update":
			item["put"] = o.operation("update", "put", gvk, s.Name, body, body, writeParameters...)
		case "patch":
			item["patch"] = o.operation("patch", "patch", gvk, s.Name, o.patchBody(), body, append(writeParameters, "force")...)
		case "create":
			item["post"] = o.operation("create", "post", gvk, s.Name, body, body, writeParameters...)
		}
	}
	o.set(collection+"/{name}/"+s.Name, item, o.kind.Namespaced, "name")
}

func (o *operations) body(k *api.Kind, v *api.Version, gvk schema.GroupVersionKind) string {
	if !isCustom(k) {
		return o.addKind(v.New(), gvk)
	}
	// The schema of a custom kind comes with its definition.
	parts := strings.Split(gvk.Group, ".")
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	name := strings.Join(parts, ".") + "." + gvk.Version + "." + gvk.Kind
	o.all[name] = object{"type": "object", "x-kubernetes-preserve-unknown-fields": true,
		"x-kubernetes-group-version-kind": []any{object{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}}}
	return name
}

func (o *operations) patchBody() string { return o.add(&metav1.Patch{}) }

func (o *operations) has(verb string) bool {
	if o.kind.Verbs == nil {
		return true
	}
	for _, v := range o.kind.Verbs {
		if v == verb {
			return true
		}
	}
	return false
}

// set writes a path with the parameters that stand in it.
func (o *operations) set(path string, item object, namespaced bool, names ...string) {
	if len(item) == 0 {
		return
	}
	var parameters []any
	for _, name := range names {
		parameters = append(parameters, o.parameter(name, "path", "string", "name of the "+o.kind.Kind))
	}
	if namespaced {
		parameters = append(parameters, o.parameter("namespace", "path", "string", "object name and auth scope, such as for teams and projects"))
	}
	if parameters != nil {
		item["parameters"] = parameters
	}
	o.paths[path] = item
}

// The query parameters, by name.
var (
	queryTypes = map[string]string{
		"allowWatchBookmarks": "boolean", "continue": "string", "dryRun": "string", "fieldManager": "string", "fieldSelector": "string",
		"fieldValidation": "string", "force": "boolean", "gracePeriodSeconds": "integer", "labelSelector": "string", "limit": "integer",
		"orphanDependents": "boolean", "pretty": "string", "propagationPolicy": "string", "resourceVersion": "string",
		"resourceVersionMatch": "string", "sendInitialEvents": "boolean", "timeoutSeconds": "integer", "watch": "boolean",
	}
	listParameters = []string{"allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
		"resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch"}
	writeParameters  = []string{"dryRun", "fieldManager", "fieldValidation"}
	deleteParameters = []string{"dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"}
	queryDocs        = queryDocumentation()
)

// queryDocumentation takes the texts from the option types.
func queryDocumentation() map[string]string {
	docs := map[string]string{}
	for _, from := range []map[string]string{
		metav1.ListOptions{}.SwaggerDoc(), metav1.DeleteOptions{}.SwaggerDoc(), metav1.CreateOptions{}.SwaggerDoc(), metav1.PatchOptions{}.SwaggerDoc(),
	} {
		for name, text := range from {
			docs[name] = text
		}
	}
	return docs
}

func (o *operations) parameter(name, in, typ, text string) object {
	p := object{"name": name, "in": in}
	if text != "" {
		p["description"] = text
	}
	if in == "path" {
		p["required"] = true
	}
	if o.v3 {
		p["schema"] = object{"type": typ, "uniqueItems": true}
	} else {
		p["type"], p["uniqueItems"] = typ, true
	}
	return p
}

// bodyTypes that are read, besides YAML.
var (
	patchTypes  = []string{"application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"}
	answerTypes = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
)

func (o *operations) operation(verb, action string, gvk schema.GroupVersionKind, suffix, sent, got string, queries ...string) object {
	op := object{
		"operationId":                     operationID(verb, o.gv(), o.kind, suffix),
		"description":                     description(verb, gvk.Kind),
		"tags":                            []string{tag(o.gv())},
		"x-kubernetes-action":             action,
		"x-kubernetes-group-version-kind": object{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind},
	}
	var parameters []any
	for _, name := range queries {
		parameters = append(parameters, o.parameter(name, "query", queryTypes[name], queryDocs[name]))
	}
	content := answerTypes
	if verb == "patch" {
		content = patchTypes
	}
	if sent != "" && o.v3 {
		op["requestBody"] = object{"content": o.content(sent, content), "required": verb != "delete" && verb != "deletecollection"}
	} else if sent != "" {
		op["consumes"] = content
		parameters = append(parameters, object{"name": "body", "in": "body", "required": verb != "delete" && verb != "deletecollection",
			"schema": object{"$ref": o.prefix + sent}})
	}
	if len(parameters) > 0 {
		op["parameters"] = parameters
	}
	answers := object{"401": object{"description": "Unauthorized"}}
	for _, code := range codes(verb) {
		answer := object{"description": code.text}
		if got != "" && o.v3 {
			answer["content"] = o.content(got, answerTypes)
		} else if got != "" {
			answer["schema"] = object{"$ref": o.prefix + got}
		}
		answers[code.code] = answer
	}
	op["responses"] = answers
	if !o.v3 {
		op["produces"], op["schemes"] = answerTypes, []string{"https"}
	}
	return op
}

func (o *operations) content(name string, types []string) object {
	out := object{}
	for _, t := range types {
		out[t] = object{"schema": object{"$ref": o.prefix + name}}
	}
	return out
}

type answerCode struct{ code, text string }

func codes(verb string) []answerCode {
	switch verb {
	case "create":
		return []answerCode{{"200", "OK"}, {"201", "Created"}, {"202", "Accepted"}}
	case "update", "patch":
		return []answerCode{{"200", "OK"}, {"201", "Created"}}
	case "delete":
		return []answerCode{{"200", "OK"}, {"202", "Accepted"}}
	}
	return []answerCode{{"200", "OK"}}
}

func description(verb, kind string) string {
	switch verb {
	case "list":
		return "list or watch objects of kind " + kind
	case "get":
		return "read the specified " + kind
	case "create":
		return "create a " + kind
	case "update":
		return "replace the specified " + kind
	case "patch":
		return "partially update the specified " + kind
	case "deletecollection":
		return "delete collection of " + kind
	}
	return verb + " a " + kind
}

func tag(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "core_" + gv.Version
	}
	return strings.TrimSuffix(gv.Group, ".k8s.io") + "_" + gv.Version
}

// operationID as clients generated from the document name their methods, e.g. listCoreV1NamespacedPod.
func operationID(verb string, gv schema.GroupVersion, k *api.Kind, suffix string) string {
	words := map[string]string{"get": "read", "update": "replace", "deletecollection": "deleteCollection"}
	word := verb
	if w, ok := words[verb]; ok {
		word = w
	}
	group := "core"
	if gv.Group != "" {
		group = strings.TrimSuffix(gv.Group, ".k8s.io")
	}
	id := word
	for _, part := range strings.FieldsFunc(group, func(r rune) bool { return r == '.' || r == '-' }) {
		id += title(part)
	}
	id += title(gv.Version)
	if k.Namespaced && suffix != "ForAllNamespaces" {
		id += "Namespaced"
	}
	id += k.Kind
	for _, part := range strings.Split(suffix, "/") {
		id += title(part)
	}
	return id
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
