package customresource

import (
	"bytes"
	"reflect"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/util/jsonpath"

	"codeberg.org/skiff/skiff/server/api"
)

// ageColumn is what definitions without columns show.
var ageColumn = apiextensionsv1.CustomResourceColumnDefinition{
	Name: "Age", Type: "date", JSONPath: ".metadata.creationTimestamp", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"],
}

// columns makes the columns of `kubectl get`. If one of the paths cannot be parsed, those before it are left.
func columns(list []apiextensionsv1.CustomResourceColumnDefinition) []api.Column {
	if len(list) == 0 {
		list = []apiextensionsv1.CustomResourceColumnDefinition{ageColumn}
	}
	var out []api.Column
	for _, c := range list {
		p, err := newPath(c.JSONPath)
		if err != nil {
			break
		}
		description := c.Description
		if description == "" {
			description = "Custom resource definition column (in JSONPath format): " + c.JSONPath
		}
		out = append(out, api.Column{
			TableColumnDefinition: metav1.TableColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: description, Priority: c.Priority},
			Cell: func(obj api.Object, now time.Time) any {
				return cell(c.Type, p.find(obj.(*unstructured.Unstructured).Object), now)
			},
		})
	}
	return out
}

// cell is a value as a column of the given type shows it; nil if it is of another type.
func cell(columnType string, value any, now time.Time) any {
	switch columnType {
	case "string":
		return textCell(value)
	case "integer":
		switch n := value.(type) {
		case int64:
			return n
		case float64:
			return int64(n)
		}
	case "number":
		switch n := value.(type) {
		case int64:
			return float64(n)
		case float64:
			return n
		}
	case "boolean":
		if b, ok := value.(bool); ok {
			return b
		}
	case "date":
		if text, ok := value.(string); ok {
			return since(text, now)
		}
	}
	return nil
}

// textCell shows lists and objects as JSON.
func textCell(value any) any {
	if text, ok := value.(string); ok || value == nil {
		if !ok {
			return nil
		}
		return text
	}
	var b bytes.Buffer
	if err := jsonpath.New("cell").PrintResults(&b, []reflect.Value{reflect.ValueOf(value)}); err != nil {
		return nil
	}
	return b.String()
}

func since(text string, now time.Time) string {
	var at metav1.Time
	if err := at.UnmarshalQueryParameter(text); err != nil {
		return "<invalid>"
	}
	if at.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(at.Time))
}
