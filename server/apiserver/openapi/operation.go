package openapi

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
)

// call is one operation: a verb, what it is called in x-kubernetes-action, and the definitions of what is sent and got.
type call struct {
	verb, action string
	gvk          schema.GroupVersionKind
	// suffix of the operation's name: a subresource, or how it differs from the others.
	suffix    string
	sent, got string
	queries   []string
}

// The query parameters, by name.
var (
	queryTypes = map[string]string{
		"allowWatchBookmarks": "boolean", "force": "boolean", "gracePeriodSeconds": "integer", "limit": "integer",
		"ignoreStoreReadErrorWithClusterBreakingPotential": "boolean", "orphanDependents": "boolean",
		"sendInitialEvents": "boolean", "timeoutSeconds": "integer", "watch": "boolean",
	}
	listParameters = []string{"allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
		"resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch"}
	writeParameters     = []string{"dryRun", "fieldManager", "fieldValidation"}
	patchParameters     = []string{"dryRun", "fieldManager", "fieldValidation", "force"}
	deleteParameters    = []string{"dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents", "propagationPolicy"}
	deleteAllParameters = []string{"continue", "dryRun", "fieldSelector", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential",
		"labelSelector", "limit", "orphanDependents", "propagationPolicy", "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds"}
	queryDocs = queryDocumentation()
)

// queryDocumentation takes the texts from the option types.
func queryDocumentation() map[string]string {
	docs := map[string]string{"pretty": "'true' asks for output with indentation; the default is that of a program, unless the user agent is a browser, curl or wget."}
	for _, from := range []map[string]string{
		metav1.ListOptions{}.SwaggerDoc(), metav1.DeleteOptions{}.SwaggerDoc(), metav1.CreateOptions{}.SwaggerDoc(), metav1.PatchOptions{}.SwaggerDoc(),
	} {
		for name, text := range from {
			docs[name] = text
		}
	}
	return docs
}

func (d *definitions) query(name string) object {
	typ := queryTypes[name]
	if typ == "" {
		typ = "string"
	}
	return d.parameter(name, "query", typ, queryDocs[name])
}

func (d *definitions) parameter(name, in, typ, text string) object {
	p := object{"name": name, "in": in}
	if text != "" {
		p["description"] = text
	}
	if in == "path" {
		p["required"] = true
	}
	if d.v3 {
		p["schema"] = object{"type": typ, "uniqueItems": true}
	} else {
		p["type"], p["uniqueItems"] = typ, true
	}
	return p
}

// The media types of bodies.
var (
	anyType     = []string{"*/*"}
	patchTypes  = []string{"application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"}
	answerTypes = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	streamTypes = append(answerTypes[:3:3], "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
	customTypes = []string{"application/json", "application/yaml"}
	// customPatches: nobody knows how to merge the lists of a custom kind strategically.
	customPatches = []string{"application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"}
)

// mediaTypes that an operation reads and answers.
func (o *operations) mediaTypes(verb string) (sent, got []string) {
	sent, got = anyType, answerTypes
	custom := o.kind != nil && isCustom(o.kind)
	if custom {
		sent, got = customTypes, customTypes
	}
	switch verb {
	case "patch":
		if sent = patchTypes; custom {
			sent = customPatches
		}
	case "list", "watch":
		if !custom {
			got = streamTypes
		}
	}
	return sent, got
}

func (o *operations) operation(c call) object {
	op := object{
		"operationId":                     operationID(o.gv(), o.kind, c),
		"description":                     description(c, o.kind.Kind),
		"tags":                            []string{tag(o.gv())},
		"x-kubernetes-action":             c.action,
		"x-kubernetes-group-version-kind": object{"group": c.gvk.Group, "version": c.gvk.Version, "kind": c.gvk.Kind},
	}
	var parameters []any
	for _, name := range c.queries {
		parameters = append(parameters, o.query(name))
	}
	reads, answers := o.mediaTypes(c.verb)
	required := c.verb != "delete" && c.verb != "deletecollection"
	if c.sent != "" && o.v3 {
		body := object{"content": o.content(c.sent, reads)}
		if required {
			body["required"] = true
		}
		op["requestBody"] = body
	} else if c.sent != "" {
		body := object{"name": "body", "in": "body", "schema": object{"$ref": o.prefix + c.sent}}
		if required {
			body["required"] = true
		}
		parameters = append(parameters, body)
	}
	if len(parameters) > 0 {
		op["parameters"] = parameters
	}
	op["responses"] = o.responses(c, answers)
	if !o.v3 {
		op["consumes"], op["produces"], op["schemes"] = reads, answers, []string{"https"}
	}
	return op
}

func (o *operations) responses(c call, types []string) object {
	all := object{"401": object{"description": "Unauthorized"}}
	for _, code := range codes(c.verb) {
		answer := object{"description": code.text}
		if c.got != "" && o.v3 {
			answer["content"] = o.content(c.got, types)
		} else if c.got != "" {
			answer["schema"] = object{"$ref": o.prefix + c.got}
		}
		all[code.code] = answer
	}
	return all
}

func (d *definitions) content(name string, types []string) object {
	out := object{}
	for _, t := range types {
		out[t] = object{"schema": object{"$ref": d.prefix + name}}
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

// returnsDeleted: a delete of the kind answers with the object.
func (o *operations) returnsDeleted() bool { return registry.ReturnsDeleted(o.kind) }

func description(c call, kind string) string {
	of := kind
	if c.suffix != "" && c.action != "list" && c.action != "watchlist" {
		of = c.suffix + " of the specified " + kind
		if c.verb == "create" {
			return "create " + c.suffix + " of a " + kind
		}
	} else if c.verb != "list" && c.verb != "watch" {
		of = "the specified " + kind
	}
	switch {
	case c.verb == "get":
		return "read " + of
	case c.verb == "update":
		return "replace " + of
	case c.verb == "patch":
		return "partially update " + of
	case c.verb == "list":
		return "list or watch objects of kind " + kind
	case c.verb == "create":
		return "create a " + kind
	case c.verb == "deletecollection":
		return "delete collection of " + kind
	case c.action == "watchlist":
		return "watch changes to a list of " + kind + ". deprecated: list with the parameter 'watch'"
	case c.action == "watch":
		return "watch changes to one " + kind + ". deprecated: list with the parameters 'watch' and 'fieldSelector'"
	}
	return c.verb + " a " + kind
}

func tag(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "core_" + gv.Version
	}
	return camel(strings.TrimSuffix(gv.Group, ".k8s.io"), false) + "_" + gv.Version
}

// operationID as clients generated from the document name their methods, e.g. listCoreV1NamespacedPod.
func operationID(gv schema.GroupVersion, k *api.Kind, c call) string {
	words := map[string]string{"get": "read", "update": "replace", "deletecollection": "delete"}
	word := c.verb
	if w, ok := words[c.verb]; ok {
		word = w
	}
	id := word + groupID(gv)
	if c.verb == "deletecollection" {
		id += "Collection"
	}
	if k.Namespaced && !strings.HasSuffix(c.suffix, "ForAllNamespaces") {
		id += "Namespaced"
	}
	id += k.Kind
	for _, part := range strings.Split(c.suffix, "/") {
		id += title(part)
	}
	return id
}

// groupID is e.g. CoreV1, or RbacAuthorizationV1.
func groupID(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "Core" + title(gv.Version)
	}
	return camel(strings.TrimSuffix(gv.Group, ".k8s.io"), true) + title(gv.Version)
}

// camel joins the parts of a group's name: rbac.authorization is RbacAuthorization.
func camel(group string, first bool) string {
	out := ""
	for _, part := range strings.FieldsFunc(group, func(r rune) bool { return r == '.' || r == '-' }) {
		if out == "" && !first {
			out = part
			continue
		}
		out += title(part)
	}
	return out
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
