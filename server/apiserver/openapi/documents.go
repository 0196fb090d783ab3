package openapi

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
)

func (d *Documents) info() object { return object{"title": "Kubernetes", "version": d.version} }

// v3 is the document of one group version; nil if nobody serves it.
func (d *Documents) v3(gv schema.GroupVersion) object {
	defs, paths := newDefinitions(true), object{}
	found := false
	for _, k := range d.kinds {
		for i := range k.Versions {
			if v := &k.Versions[i]; v.Group == gv.Group && v.Version == gv.Version {
				(&operations{definitions: defs, kind: k, version: v, paths: paths}).write()
				found = true
			}
		}
	}
	if !found {
		return nil
	}
	defs.add(&metav1.APIResourceList{})
	defs.addKind(&metav1.WatchEvent{}, gv.WithKind("WatchEvent"))
	paths["/"+pathOf(gv)+"/"] = resourcesPath(defs, gv)
	return object{
		"openapi": "3.0.0", "info": d.info(), "paths": paths,
		"components": object{
			"schemas": defs.all,
			"securitySchemes": object{"BearerToken": object{"type": "apiKey", "name": "authorization", "in": "header",
				"description": "Bearer Token authentication"}},
		},
	}
}

// v2 is the one document of everything.
func (d *Documents) v2() object {
	defs, paths := newDefinitions(false), object{}
	kinds := slices.SortedStableFunc(slices.Values(d.kinds), func(a, b *api.Kind) int { return cmp.Compare(a.Group, b.Group) })
	for _, k := range kinds {
		for i := range k.Versions {
			(&operations{definitions: defs, kind: k, version: &k.Versions[i], paths: paths}).write()
		}
	}
	for _, gv := range groupVersions(d.kinds) {
		defs.addKind(&metav1.WatchEvent{}, gv.WithKind("WatchEvent"))
		paths["/"+pathOf(gv)+"/"] = resourcesPath(defs, gv)
	}
	return object{
		"swagger": "2.0", "info": d.info(), "paths": paths, "definitions": defs.all,
		"securityDefinitions": object{"BearerToken": object{"type": "apiKey", "name": "authorization", "in": "header",
			"description": "Bearer Token authentication"}},
		"security": []any{object{"BearerToken": []string{}}},
	}
}

func resourcesPath(defs *definitions, gv schema.GroupVersion) object {
	o := &operations{definitions: defs}
	list := defs.add(&metav1.APIResourceList{})
	answer := object{"description": "OK"}
	op := object{"description": "get available resources", "operationId": "get" + operationID("", gv, &api.Kind{}, "") + "APIResources", "tags": []string{tag(gv)}}
	if defs.v3 {
		answer["content"] = o.content(list, answerTypes)
	} else {
		answer["schema"] = object{"$ref": defs.prefix + list}
		op["consumes"], op["produces"], op["schemes"] = answerTypes, answerTypes, []string{"https"}
	}
	op["responses"] = object{"200": answer, "401": object{"description": "Unauthorized"}}
	return object{"get": op}
}
