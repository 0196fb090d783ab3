package customresource_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/customresource"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/registrytest"
)

type (
	definition = apiextensionsv1.CustomResourceDefinition
	object     = unstructured.Unstructured
)

// world is a registry with the built-in kinds, and the loop that serves definitions.
type world struct {
	*registrytest.Env
	tb testing.TB
}

func start(tb testing.TB, hooks customresource.Poster) *world {
	tb.Helper()
	e := registrytest.Start(tb, registrytest.Options{Kinds: api.BuiltIn()})
	d, err := customresource.NewDefinitions(customresource.Config{Store: e.Store, Catalogue: e.Catalogue, Hooks: hooks, Log: slog.New(slog.NewTextHandler(tb.Output(), nil))})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(e.Ctx)
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	tb.Cleanup(func() { cancel(); <-done })
	<-d.Synced()
	return &world{e, tb}
}

// gateways is the definition of testdata, changed by change.
func gateways(tb testing.TB, change ...func(*definition)) *definition {
	tb.Helper()
	text, err := os.ReadFile("testdata/gateways.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	d := &definition{}
	if err := yaml.UnmarshalStrict(text, d); err != nil {
		tb.Fatal(err)
	}
	d.TypeMeta = metav1.TypeMeta{}
	for _, f := range change {
		f(d)
	}
	return d
}

// define stores a definition and accepts its names, as the controller does, and waits until it is served.
func (w *world) define(d *definition) *definition {
	w.tb.Helper()
	d = registrytest.Create(w.Env, d)
	d = registrytest.Mutate(w.Env, d, "status", func(d *definition) {
		d.Status.AcceptedNames = d.Spec.Names
		api.SetDefinitionCondition(d, apiextensionsv1.CustomResourceDefinitionCondition{Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue}, metav1.Now())
	})
	w.until("the definition is served", func() bool { k, _ := w.find(d, d.Spec.Versions[0].Name); return k != nil })
	return d
}

func (w *world) until(what string, is func() bool) {
	w.tb.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.tb.Fatalf("after 10 s it is not so that %s", what)
		}
	}
}

func (w *world) find(d *definition, version string) (*api.Kind, *api.Version) {
	return w.Catalogue.ByResource(schema.GroupVersionResource{Group: d.Spec.Group, Version: version, Resource: d.Spec.Names.Plural})
}

// request names an object of the gateways.
func (w *world) request(version, name string) registry.Request {
	w.tb.Helper()
	k, v := w.Catalogue.ByResource(schema.GroupVersionResource{Group: "net.example.com", Version: version, Resource: "gateways"})
	if k == nil {
		w.tb.Fatalf("version %s is not served", version)
	}
	return registry.Request{User: w.User, Kind: k, Version: v, Namespace: "default", Name: name, UserAgent: "test/1"}
}

// decode does what the apiserver does with a body.
func (w *world) decode(req registry.Request, text string) (*object, []string) {
	w.tb.Helper()
	u := &object{}
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		w.tb.Fatal(err)
	}
	content := map[string]any{}
	if err := unstructuredJSON(data, &content); err != nil {
		w.tb.Fatal(err)
	}
	u.Object = content
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: req.Version.Group, Version: req.Version.Version, Kind: req.Kind.Kind})
	u.SetName(req.Name)
	unknown, err := req.Version.Prune(u)
	if err != nil {
		w.tb.Fatal(err)
	}
	return u, unknown
}

func (w *world) tryCreate(version, name, text string) (*object, error) {
	w.tb.Helper()
	req := w.request(version, name)
	u, _ := w.decode(req, text)
	out, err := w.Registry.Create(w.Ctx, req, u)
	got, _ := out.(*object)
	return got, err
}

func (w *world) create(version, name, text string) *object {
	w.tb.Helper()
	out, err := w.tryCreate(version, name, text)
	if err != nil {
		w.tb.Fatalf("create %s: %v", name, err)
	}
	return out
}

// change puts the object with a change, through a subresource if one is named.
func (w *world) change(version, name, subresource string, change func(u *object)) (*object, error) {
	w.tb.Helper()
	req := w.request(version, name)
	req.Subresource = subresource
	out, _, err := w.Registry.Update(w.Ctx, req, func(current runtime.Object) (runtime.Object, error) {
		next := current.DeepCopyObject().(*object)
		change(next)
		return next, nil
	}, registry.UpdateOptions{Retry: true})
	got, _ := out.(*object)
	return got, err
}

func (w *world) get(version, name string) *object {
	w.tb.Helper()
	out, err := w.Registry.Get(w.Ctx, w.request(version, name), metav1.GetOptions{})
	if err != nil {
		w.tb.Fatalf("get %s: %v", name, err)
	}
	return out.(*object)
}
