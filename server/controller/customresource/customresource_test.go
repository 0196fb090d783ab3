package customresource_test

import (
	"context"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/controller"
	controllers "codeberg.org/skiff/skiff/server/controller/customresource"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/customresource"
	"codeberg.org/skiff/skiff/server/registry/registrytest"
)

type definition = apiextensionsv1.CustomResourceDefinition

func start(t *testing.T) *World {
	t.Helper()
	w := Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{controllers.New(now)}
	})
	d, err := customresource.NewDefinitions(customresource.Config{Store: w.Store, Catalogue: w.Catalogue})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.Ctx)
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	<-d.Synced()
	return w
}

func define(plural, kind string, change ...func(*definition)) *definition {
	open := true
	d := &definition{ObjectMeta: metav1.ObjectMeta{Name: plural + ".example.com"}}
	d.Spec = apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
		Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Singular: strings.ToLower(kind), Kind: kind, ListKind: kind + "List"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &open}}}},
	}
	for _, f := range change {
		f(d)
	}
	return d
}

// state is a condition as "Status/Reason", "" if there is none.
func state(w *World, d *definition, t apiextensionsv1.CustomResourceDefinitionConditionType) string {
	if c := api.DefinitionCondition(Get(w, d), t); c != nil {
		return string(c.Status) + "/" + c.Reason
	}
	return ""
}

// eventually waits for what needs a moment more than the engine's rest: the definition must be served first.
func eventually(t *testing.T, what string, got func() string, want string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); got() != want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is %q, want %q", what, got(), want)
		}
	}
}

func thing(kind, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: kind})
	u.SetNamespace(Namespace)
	u.SetName(name)
	return u
}

func TestEstablishedOnlyWhenServed(t *testing.T) {
	w := start(t)
	d := Create(w, define("widgets", "Widget"))
	eventually(t, "Established", func() string { return state(w, d, apiextensionsv1.Established) }, "True/InitialNamesAccepted")
	if got := state(w, d, apiextensionsv1.NamesAccepted); got != "True/NoConflicts" {
		t.Errorf("NamesAccepted %s", got)
	}
	Create(w, thing("Widget", "a")) // at once, without waiting
	if got := Get(w, d).Status.AcceptedNames.Plural; got != "widgets" {
		t.Errorf("accepted %q", got)
	}
}

func TestNamesAreGivenOnce(t *testing.T) {
	w := start(t)
	first := Create(w, define("widgets", "Widget", func(d *definition) { d.Spec.Names.ShortNames = []string{"wg"} }))
	eventually(t, "Established", func() string { return state(w, first, apiextensionsv1.Established) }, "True/InitialNamesAccepted")
	second := Create(w, define("gadgets", "Widget", func(d *definition) { d.Spec.Names.Singular, d.Spec.Names.ShortNames = "gadget", []string{"wg"} }))
	eventually(t, "NamesAccepted", func() string { return state(w, second, apiextensionsv1.NamesAccepted) }, "False/ListKindConflict")
	if got := state(w, second, apiextensionsv1.Established); got != "False/NotAccepted" {
		t.Errorf("Established %s", got)
	}
	if names := Get(w, second).Status.AcceptedNames; names.Plural != "gadgets" || names.Kind != "" || names.ShortNames != nil {
		t.Errorf("accepted names %+v", names)
	}
	w.Delete(first, "")
	eventually(t, "NamesAccepted after the other is gone", func() string { return state(w, second, apiextensionsv1.Established) }, "True/InitialNamesAccepted")
}

func TestDeletionWaitsForObjects(t *testing.T) {
	w := start(t)
	d := Create(w, define("widgets", "Widget"))
	eventually(t, "Established", func() string { return state(w, d, apiextensionsv1.Established) }, "True/InitialNamesAccepted")
	Create(w, thing("Widget", "free"))
	held := thing("Widget", "held")
	held.SetFinalizers([]string{"example.com/hold"})
	Create(w, held)
	w.Delete(d, "")
	eventually(t, "Terminating", func() string { return state(w, d, apiextensionsv1.Terminating) }, "True/InstanceDeletionCheck")
	if Exists(w, thing("Widget", "free")) || !Exists(w, held) {
		t.Error("the wrong objects are left")
	}
	if _, err := registrytest.TryCreate(w.Env, thing("Widget", "late")); err == nil || !strings.Contains(err.Error(), "create not allowed while custom resource definition is terminating") {
		t.Errorf("created in a kind that ends: %v", err)
	}
	Mutate(w, held, "", func(u *unstructured.Unstructured) { u.SetFinalizers(nil) })
	eventually(t, "the definition", func() string {
		if Exists(w, d) {
			return "there"
		}
		return "gone"
	}, "gone")
}

func TestHeldDefinitionTakesNoObjects(t *testing.T) {
	w := start(t)
	d := Create(w, define("widgets", "Widget", func(d *definition) { d.Finalizers = []string{"example.com/hold"} }))
	eventually(t, "Established", func() string { return state(w, d, apiextensionsv1.Established) }, "True/InitialNamesAccepted")
	w.Delete(d, "")
	eventually(t, "Terminating", func() string { return state(w, d, apiextensionsv1.Terminating) }, "True/InstanceDeletionCompleted")
	if _, err := registrytest.TryCreate(w.Env, thing("Widget", "late")); err == nil {
		t.Error("created in a kind that ends")
	}
}

func TestWhatCannotWorkSaysWhy(t *testing.T) {
	w := start(t)
	url := "https://example.com/convert"
	bad := Create(w, define("widgets", "Widget", func(d *definition) {
		d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
			ConversionReviewVersions: []string{"v1"}, ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: &url, CABundle: []byte("rubbish")}}}
	}))
	eventually(t, "Established", func() string { return state(w, bad, apiextensionsv1.Established) }, "False/InvalidCABundle")
	taken := Create(w, define("ingresses", "Ingress", func(d *definition) {
		d.Name, d.Spec.Group = "ingresses.networking.k8s.io", "networking.k8s.io"
		d.Annotations = map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: "unapproved, for a test"}
	}))
	eventually(t, "Established", func() string { return state(w, taken, apiextensionsv1.Established) }, "False/NotServable")
	if got := state(w, taken, apiextensionsv1.KubernetesAPIApprovalPolicyConformant); got != "False/UnapprovedAnnotation" {
		t.Errorf("approval %s", got)
	}
	w.Delete(bad, "")
	eventually(t, "a definition that was never served", func() string {
		if Exists(w, bad) {
			return "there"
		}
		return "gone"
	}, "gone")
}
