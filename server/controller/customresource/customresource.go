// Package customresource gives CustomResourceDefinitions their names and says in their conditions how they stand; a
// definition that is being deleted it empties of its objects, and then lets go.
//
//	NamesAccepted        no other definition of the group has one of the names (status.acceptedNames)
//	Established          it is served, and stays so; its reason says why not
//	NonStructuralSchema  what is wrong with an old definition's schema
//	KubernetesAPIApprovalPolicyConformant   for groups below k8s.io
//	Terminating          how far its deletion is
//
// The kinds themselves are served by server/customresource, on every server. Keys are names of definitions.
package customresource

import (
	"context"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/customresource"
	"codeberg.org/skiff/skiff/server/store"
)

// soon is when a definition is looked at again which this server is about to serve.
const soon = 5 * time.Millisecond

// New returns the controller. It has one worker: the names of two definitions must not be decided at once.
func New(now func() time.Time) controller.Controller {
	return controller.Controller{
		Name: "customresourcedefinition-controller",
		Inputs: []controller.Input{
			{Kind: &definition{}, Keys: keysOfDefinition},
			{Keys: keysOfObject},
		},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			d, ok := client.Get[*definition](c.Snapshot(), "", key)
			if !ok {
				return controller.Result{}, nil
			}
			if d.DeletionTimestamp != nil {
				return finish(ctx, c, d, metav1.NewTime(now()))
			}
			return reconcile(ctx, c, d, metav1.NewTime(now()))
		},
	}
}

// keysOfDefinition are the definition itself, and those of its group that may wait for names which it has given up.
func keysOfDefinition(s client.Snapshot, e *store.Event) []string {
	d := e.Object.(*definition)
	keys := []string{d.Name}
	old, _ := e.Old.(*definition)
	if e.Type != store.Deleted && (old == nil || sameNames(&old.Status.AcceptedNames, &d.Status.AcceptedNames)) {
		return keys
	}
	for other := range client.List[*definition](s, "") {
		if other.Spec.Group == d.Spec.Group && other.Name != d.Name && !api.DefinitionIs(other, apiextensionsv1.NamesAccepted) {
			keys = append(keys, other.Name)
		}
	}
	return keys
}

// keysOfObject is the definition of a custom object that is gone, if it waits for that.
func keysOfObject(s client.Snapshot, e *store.Event) []string {
	if e.Kind.Convert == nil || e.Type != store.Deleted {
		return nil
	}
	name := e.Kind.Plural + "." + e.Kind.Group
	if d, ok := client.Get[*definition](s, "", name); !ok || d.DeletionTimestamp == nil || s.Count(e.Kind, "") > 0 {
		return nil
	}
	return []string{name}
}

func reconcile(ctx context.Context, c *client.Client, d *definition, now metav1.Time) (controller.Result, error) {
	next := d.DeepCopy()
	f := observe(c, d)
	changed := decide(next, f, now)
	if changed {
		if _, err := c.UpdateStatus(ctx, next); err != nil {
			return controller.Result{}, gone(err)
		}
	}
	if api.DefinitionIs(next, apiextensionsv1.NamesAccepted) && !api.DefinitionIs(next, apiextensionsv1.Established) && f.problem == nil && !badBundle(next) {
		return controller.Result{After: soon}, nil
	}
	return controller.Result{}, nil
}

func observe(c *client.Client, d *definition) facts {
	f := facts{resources: map[string]bool{}, kinds: map[string]bool{}}
	for other := range client.List[*definition](c.Snapshot(), "") {
		if other.Spec.Group != d.Spec.Group || other.Name == d.Name {
			continue
		}
		names := &other.Status.AcceptedNames
		f.resources[names.Plural], f.resources[names.Singular] = true, true
		for _, short := range names.ShortNames {
			f.resources[short] = true
		}
		f.kinds[names.Kind], f.kinds[names.ListKind] = true, true
	}
	if api.DefinitionIs(d, apiextensionsv1.NamesAccepted) && !api.DefinitionIs(d, apiextensionsv1.Established) {
		f.problem = customresource.Check(d, c.Catalogue())
		f.served = kindOf(c, d) != nil
	}
	return f
}

// kindOf finds what this server serves for a definition.
func kindOf(c *client.Client, d *definition) *api.Kind {
	for _, v := range d.Spec.Versions {
		gvk := schema.GroupVersionKind{Group: d.Spec.Group, Version: v.Name, Kind: d.Status.AcceptedNames.Kind}
		if k, _ := c.Catalogue().ByKind(gvk); k != nil && k.Convert != nil {
			return k
		}
	}
	return nil
}

func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
