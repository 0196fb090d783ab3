package openapi

import (
	"fmt"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"codeberg.org/skiff/skiff/server/api"
)

var bearer = object{"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"}

func (d *Documents) info() object { return object{"title": "Kubernetes", "version": d.version} }

// v3 is the document of one group version, or of one of the paths beside them; nil if nobody serves it.
func (d *Documents) v3(path string) object {
	defs, paths := newDefinitions(true), object{}
	gv, ok := groupVersionOf(path)
	switch {
	case ok:
		if !d.writeVersion(defs, paths, gv) {
			return nil
		}
	case !d.writeRoot(defs, paths, path):
		return nil
	}
	return object{
		"openapi": "3.0.0", "info": d.info(), "paths": paths,
		"components": object{"schemas": defs.all, "securitySchemes": object{"BearerToken": bearer}},
	}
}

func (d *Documents) writeVersion(defs *definitions, paths object, gv schema.GroupVersion) (found bool) {
	for _, k := range d.kinds {
		for i := range k.Versions {
			if v := &k.Versions[i]; v.Group == gv.Group && v.Version == gv.Version && !v.Unserved {
				(&operations{definitions: defs, kind: k, version: v, paths: paths}).write()
				found = true
			}
		}
	}
	if found {
		defs.addKind(&metav1.Status{}, schema.GroupVersionKind{Version: "v1", Kind: "Status"})
		defs.addKind(&metav1.WatchEvent{}, gv.WithKind("WatchEvent"))
		paths["/"+pathOf(gv)+"/"] = defs.simpleGet("get available resources", "get"+groupID(gv)+"APIResources", tag(gv), defs.list())
	}
	return found
}

// list is the definition of what a group version answers.
func (d *definitions) list() string {
	return d.addKind(&metav1.APIResourceList{}, schema.GroupVersionKind{Version: "v1", Kind: "APIResourceList"})
}

// rootDocuments are the paths of documents that describe no group version, and what they say.
func rootDocuments() map[string]func(*definitions) (path string, item object) {
	return map[string]func(*definitions) (string, object){
		"api": func(d *definitions) (string, object) {
			return "/api/", d.simpleGet("get available API versions", "getCoreAPIVersions", "core", d.addKind(&metav1.APIVersions{}, schema.GroupVersionKind{Version: "v1", Kind: "APIVersions"}))
		},
		"apis": func(d *definitions) (string, object) {
			return "/apis/", d.simpleGet("get available API versions", "getAPIVersions", "apis", d.addKind(&metav1.APIGroupList{}, schema.GroupVersionKind{Version: "v1", Kind: "APIGroupList"}))
		},
		"version": func(d *definitions) (string, object) {
			return "/version/", d.simpleGet("get the version information for this server", "getCodeVersion", "version", d.add(&version.Info{}))
		},
	}
}

// writeRoot writes one of the paths above the group versions.
func (d *Documents) writeRoot(defs *definitions, paths object, path string) bool {
	if write := rootDocuments()[path]; write != nil {
		at, item := write(defs)
		paths[at] = item
		return true
	}
	for _, gv := range groupVersions(d.kinds) {
		if gv.Group != "" && path == "apis/"+gv.Group {
			group := schema.GroupVersion{Group: gv.Group}
			paths["/"+path+"/"] = defs.simpleGet("get information of a group", "get"+groupID(group)+"APIGroup", camel(trimGroup(gv.Group), false),
				defs.addKind(&metav1.APIGroup{}, schema.GroupVersionKind{Version: "v1", Kind: "APIGroup"}))
			return true
		}
	}
	return false
}

// simpleGet is a path without parameters.
func (d *definitions) simpleGet(text, id, tag, got string) object {
	answer := object{"description": "OK"}
	op := object{"description": text, "operationId": id, "tags": []string{tag}}
	if d.v3 {
		answer["content"] = d.content(got, answerTypes)
	} else {
		answer["schema"] = object{"$ref": d.prefix + got}
		op["consumes"], op["produces"], op["schemes"] = answerTypes, answerTypes, []string{"https"}
	}
	op["responses"] = object{"200": answer, "401": object{"description": "Unauthorized"}}
	return object{"get": op}
}

// v2BuiltIn describes everything but the custom kinds.
func (d *Documents) v2BuiltIn() object {
	defs, paths := newDefinitions(false), object{}
	for _, gv := range groupVersions(d.kinds) {
		if served := builtInOf(d.kinds, gv); len(served) > 0 {
			one := &Documents{kinds: served}
			one.writeVersion(defs, paths, gv)
			one.writeRoot(defs, paths, "apis/"+gv.Group)
		}
	}
	for path := range rootDocuments() {
		d.writeRoot(defs, paths, path)
	}
	return object{
		"swagger": "2.0", "info": d.info(), "paths": paths, "definitions": defs.all,
		"securityDefinitions": object{"BearerToken": bearer},
		"security":            []any{object{"BearerToken": []string{}}},
	}
}

func builtInOf(kinds []*api.Kind, gv schema.GroupVersion) (out []*api.Kind) {
	for _, k := range kinds {
		for i := range k.Versions {
			if k.Versions[i].Group == gv.Group && k.Versions[i].Version == gv.Version && !isCustom(k) {
				out = append(out, k)
			}
		}
	}
	return out
}

// v2Custom describes the custom kinds alone: only what v2BuiltIn does not have.
func (d *Documents) v2Custom() object {
	shared := newDefinitions(false)
	own, paths := map[string]object{}, object{}
	for _, k := range d.kinds {
		if !isCustom(k) {
			continue
		}
		for i := range k.Versions {
			if k.Versions[i].Unserved {
				continue
			}
			o := &operations{definitions: shared, kind: k, version: &k.Versions[i], paths: paths}
			o.write()
			body, list := o.bodies(o.gv().WithKind(k.Kind))
			own[body], own[list] = shared.all[body], shared.all[list]
			paths["/"+pathOf(o.gv())+"/"] = shared.simpleGet("get available resources", "get"+groupID(o.gv())+"APIResources", tag(o.gv()), shared.list())
		}
	}
	if len(own) == 0 {
		return nil
	}
	return object{"paths": paths, "definitions": own}
}

// protobufV2 is a document as gnostic's message.
func protobufV2(text []byte) ([]byte, error) {
	doc, err := openapi_v2.ParseDocument(text)
	if err != nil {
		return nil, fmt.Errorf("openapi v2 as protobuf: %w", err)
	}
	return proto.Marshal(doc)
}

func protobufV3(text []byte) ([]byte, error) {
	doc, err := openapi_v3.ParseDocument(text)
	if err != nil {
		return nil, fmt.Errorf("openapi v3 as protobuf: %w", err)
	}
	return proto.Marshal(doc)
}
