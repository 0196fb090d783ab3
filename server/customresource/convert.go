package customresource

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/outbound"
)

// Poster sends a body to a webhook and returns the answer; outbound.Client does.
type Poster interface {
	Post(ctx context.Context, to outbound.Target, body []byte) ([]byte, error)
}

// converter makes objects of another version of those given, which all are of other versions. It may share what the
// objects point to.
type converter interface {
	convert(objs []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error)
}

func newConverter(d *Definition, hooks Poster) (converter, error) {
	c := d.Spec.Conversion
	if c == nil || c.Strategy == apiextensionsv1.NoneConverter {
		return renamer{}, nil
	}
	if c.Strategy != apiextensionsv1.WebhookConverter {
		return nil, fmt.Errorf("unknown conversion strategy %q", c.Strategy)
	}
	return newWebhook(d, hooks)
}

// renamer is the strategy None: only the apiVersion changes.
type renamer struct{}

func (renamer) convert(objs []*unstructured.Unstructured, to schema.GroupVersion) ([]*unstructured.Unstructured, error) {
	out := make([]*unstructured.Unstructured, len(objs))
	for i, u := range objs {
		out[i] = u.DeepCopy()
		out[i].SetAPIVersion(to.String())
	}
	return out, nil
}

// convertAll is the kind's Convert: what is of the version already stays, and the rest is converted in one go.
func (k *kind) convertAll(objs []api.Object, to *api.Version) ([]api.Object, error) {
	target := k.versions[to.Version]
	gv := schema.GroupVersion{Group: to.Group, Version: to.Version}
	if target == nil || to.Group != k.group.Group {
		return nil, fmt.Errorf("request to convert CR to an invalid group/version: %s", gv)
	}
	var at []int
	var others []*unstructured.Unstructured
	for i, obj := range objs {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return nil, fmt.Errorf("convert a %T to %s: it is no custom object", obj, gv)
		}
		have := u.GroupVersionKind()
		if have.GroupVersion() == gv {
			continue
		}
		if have.Group != k.group.Group || k.versions[have.Version] == nil {
			return nil, fmt.Errorf("request to convert CR from an invalid group/version: %s", have.GroupVersion())
		}
		at, others = append(at, i), append(others, u)
	}
	if len(others) == 0 {
		return objs, nil
	}
	converted, err := k.convert.convert(others, gv)
	if err != nil {
		return nil, err
	}
	out := append([]api.Object(nil), objs...)
	for i, u := range converted {
		if _, err := target.coerce(u, coercion{}); err != nil {
			return nil, fmt.Errorf("%s %q as %s: %w", k.group.Kind, u.GetName(), gv, err)
		}
		out[at[i]] = u
	}
	return out, nil
}
