package customresource

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/util/jsonpath"

	"codeberg.org/skiff/skiff/server/api"
)

// path finds one value in an object. Nearly all paths of definitions are names and dots, which need no interpreter.
type path struct {
	names  []string
	parsed *jsonpath.JSONPath // when names is nil
}

var plainPath = regexp.MustCompile(`^(\.[A-Za-z_][A-Za-z0-9_-]*)+$`)

func newPath(text string) (path, error) {
	if plainPath.MatchString(text) {
		return path{names: strings.Split(text[1:], ".")}, nil
	}
	p := jsonpath.New(text)
	if err := p.Parse("{" + text + "}"); err != nil {
		return path{}, fmt.Errorf("parse the path %q: %w", text, err)
	}
	p.AllowMissingKeys(true)
	return path{parsed: p}, nil
}

// find returns the first value that the path leads to, or nil.
func (p path) find(object map[string]any) any {
	if p.parsed == nil {
		var at any = object
		for _, name := range p.names {
			fields, ok := at.(map[string]any)
			if !ok {
				return nil
			}
			at = fields[name]
		}
		return at
	}
	results, err := p.parsed.FindResults(object)
	if err != nil || len(results) == 0 || len(results[0]) == 0 || !results[0][0].IsValid() {
		return nil
	}
	if first := results[0][0]; first.Kind() != reflect.Interface || !first.IsNil() {
		return first.Interface()
	}
	return nil
}

// selectable makes what field selectors can select by. A path that cannot be parsed selects nothing.
func selectable(list []apiextensionsv1.SelectableField) (func(api.Object) fields.Set, []string) {
	if len(list) == 0 {
		return nil, nil
	}
	var names []string
	var paths []path
	for _, f := range list {
		p, err := newPath(f.JSONPath)
		if err != nil {
			continue
		}
		names, paths = append(names, strings.TrimPrefix(f.JSONPath, ".")), append(paths, p)
	}
	return func(obj api.Object) fields.Set {
		set := make(fields.Set, len(paths))
		for i, p := range paths {
			set[names[i]] = ""
			if value := p.find(obj.(*unstructured.Unstructured).Object); value != nil {
				set[names[i]] = fmt.Sprint(value)
			}
		}
		return set
	}, names
}
