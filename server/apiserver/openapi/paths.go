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
	body, list := o.bodies(gvk)
	root := "/" + pathOf(o.gv())
	collection := root + "/" + o.kind.Plural
	if o.kind.Namespaced {
		if o.has("list") {
			item := object{"get": o.operation(call{verb: "list", action: "list", gvk: gvk, suffix: "ForAllNamespaces", got: list})}
			o.set(collection, item, false, listParameters)
		}
		collection = root + "/namespaces/{namespace}/" + o.kind.Plural
	}
	all, one := object{}, object{}
	add := func(item object, method string, c call) {
		if o.has(c.verb) {
			c.gvk = gvk
			item[method] = o.operation(c)
		}
	}
	status := o.add(&metav1.Status{})
	options := o.addKind(&metav1.DeleteOptions{}, o.gv().WithKind("DeleteOptions"))
	gone := status
	if o.returnsDeleted() {
		gone = body
	}
	add(all, "get", call{verb: "list", action: "list", got: list, queries: listParameters})
	add(all, "post", call{verb: "create", action: "post", sent: body, got: body, queries: writeParameters})
	add(all, "delete", call{verb: "deletecollection", action: "deletecollection", sent: options, got: status, queries: deleteAllParameters})
	add(one, "get", call{verb: "get", action: "get", got: body})
	add(one, "put", call{verb: "update", action: "put", sent: body, got: body, queries: writeParameters})
	add(one, "patch", call{verb: "patch", action: "patch", sent: o.patchBody(), got: body, queries: patchParameters})
	add(one, "delete", call{verb: "delete", action: "delete", sent: options, got: gone, queries: deleteParameters})
	o.set(collection, all, o.kind.Namespaced, nil)
	o.set(collection+"/{name}", one, o.kind.Namespaced, nil, "name")
	if o.has("watch") && !isCustom(o.kind) {
		o.watches(root, collection, gvk)
	}
	subresources := o.kind.SubresourcesOf(o.version)
	for i := range subresources {
		o.subresource(&subresources[i], collection, gvk, body)
	}
}

// bodies are the definitions of the kind and of its list.
func (o *operations) bodies(gvk schema.GroupVersionKind) (body, list string) {
	if isCustom(o.kind) {
		return o.custom(o.kind, o.version, gvk)
	}
	body = o.addKind(o.version.New(), gvk)
	if o.version.NewList == nil {
		return body, body
	}
	return body, o.addKind(o.version.NewList(), o.gv().WithKind(gvk.Kind+"List"))
}

// watches are the paths of old clients that watch, which came before the parameter.
func (o *operations) watches(root, collection string, gvk schema.GroupVersionKind) {
	event := o.addKind(&metav1.WatchEvent{}, o.gv().WithKind("WatchEvent"))
	at := func(path string, c call, names ...string) {
		c.verb, c.gvk, c.got = "watch", gvk, event
		o.set(path, object{"get": o.operation(c)}, strings.Contains(path, "{namespace}"), listParameters, names...)
	}
	watched := strings.Replace(collection, root, root+"/watch", 1)
	if o.kind.Namespaced && o.has("list") {
		at(root+"/watch/"+o.kind.Plural, call{action: "watchlist", suffix: "ListForAllNamespaces"})
	}
	if o.has("list") {
		at(watched, call{action: "watchlist", suffix: "List"})
	}
	at(watched+"/{name}", call{action: "watch"}, "name")
}

func (o *operations) subresource(s *api.Subresource, collection string, gvk schema.GroupVersionKind, body string) {
	path := collection + "/{name}/" + s.Name
	if slices.Contains(s.Verbs, "connect") {
		o.connect(s, path, gvk)
		return
	}
	if s.GVK.Kind != "" {
		gvk, body = s.GVK, ""
		if s.New != nil {
			body = o.addKind(s.New(), s.GVK)
		}
	}
	item := object{}
	c := call{gvk: gvk, suffix: s.Name, got: body}
	for _, verb := range s.Verbs {
		c.verb, c.sent, c.queries = verb, body, writeParameters
		switch verb {
		case "get":
			c.action, c.sent, c.queries = "get", "", nil
			item["get"] = o.operation(c)
		case "update":
			c.action = "put"
			item["put"] = o.operation(c)
		case "patch":
			c.action, c.sent, c.queries = "patch", o.patchBody(), patchParameters
			item["patch"] = o.operation(c)
		case "create":
			c.action = "post"
			item["post"] = o.operation(c)
		}
	}
	o.set(path, item, o.kind.Namespaced, nil, "name")
}

func (o *operations) patchBody() string { return o.add(&metav1.Patch{}) }

func (o *operations) has(verb string) bool {
	return o.kind.Verbs == nil || slices.Contains(o.kind.Verbs, verb)
}

// set writes a path with the parameters that all its operations have: those in the path, and queries.
func (o *operations) set(path string, item object, namespaced bool, queries []string, names ...string) {
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
	for _, name := range queries {
		parameters = append(parameters, o.query(name))
	}
	item["parameters"] = append(parameters, o.query("pretty"))
	o.paths[path] = item
}
