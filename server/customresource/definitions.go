package customresource

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Config of Definitions. Store and Catalogue are required.
type Config struct {
	Store     *store.Store
	Catalogue *api.Catalogue
	// Hooks reaches conversion webhooks.
	Hooks Poster
	Log   *slog.Logger
}

// Definitions serves the stored definitions.
type Definitions struct {
	cfg    Config
	log    *slog.Logger
	source *api.Kind // CustomResourceDefinition itself
	// served by name; only Run's goroutine uses it.
	served map[string]servedKind
	// failed are those which could not be served, and why; they are tried again.
	failed map[string]string
	synced chan struct{}
}

// retryInterval is when a definition is tried again that could not be served.
const retryInterval = 2 * time.Second

// servedKind is a kind and the definition it was made of.
type servedKind struct {
	definition *Definition
	kind       *api.Kind
}

// NewDefinitions starts nothing.
func NewDefinitions(cfg Config) (*Definitions, error) {
	if cfg.Store == nil || cfg.Catalogue == nil {
		return nil, errors.New("customresource: Store and Catalogue are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	source := cfg.Catalogue.ByObject(&Definition{})
	if source == nil {
		return nil, errors.New("customresource: the catalogue has no CustomResourceDefinition")
	}
	return &Definitions{cfg: cfg, log: cfg.Log.With("component", "customresource"), source: source,
		served: map[string]servedKind{}, failed: map[string]string{}, synced: make(chan struct{})}, nil
}

// Synced is closed when all definitions that were stored at the start are served.
func (d *Definitions) Synced() <-chan struct{} { return d.synced }

// Run follows the definitions until ctx ends. The store must be ready.
func (d *Definitions) Run(ctx context.Context) error {
	for first := true; ctx.Err() == nil; first = false {
		if !first {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		if err := d.follow(ctx, first); err != nil && ctx.Err() == nil {
			d.log.Warn("The watch of definitions ended and begins again", "error", err)
		}
	}
	return nil
}

// follow brings everything to a snapshot, and then along with each change.
func (d *Definitions) follow(ctx context.Context, first bool) error {
	snap := d.cfg.Store.Snapshot()
	watch, err := d.cfg.Store.Watch(ctx, store.WatchOptions{Kinds: []*api.Kind{d.source}, From: snap.Revision()})
	if err != nil {
		return err
	}
	defer watch.Stop()
	present := map[string]bool{}
	for obj := range snap.List(d.source, "", "") {
		present[obj.GetName()] = true
		d.follow1(ctx, obj.(*Definition))
	}
	for name := range d.served {
		if !present[name] {
			d.remove(name)
		}
	}
	if first {
		close(d.synced)
	}
	var again <-chan time.Time // nil, and no timer, while nothing has failed
	for {
		if again == nil && len(d.failed) > 0 {
			again = time.After(retryInterval)
		}
		select {
		case batch, open := <-watch.Events():
			if !open {
				return watch.Err()
			}
			d.see(ctx, batch)
		case <-again:
			again = nil
			d.retry(ctx)
		}
	}
}

func (d *Definitions) see(ctx context.Context, batch []*store.Event) {
	for _, e := range batch {
		switch e.Type {
		case store.Added, store.Modified:
			d.follow1(ctx, e.Object.(*Definition))
		case store.Deleted:
			d.remove(e.Object.GetName())
		}
	}
}

// retry serves what could not be served before, e.g. because etcd was being opened again.
func (d *Definitions) retry(ctx context.Context) {
	snap := d.cfg.Store.Snapshot()
	for name := range d.failed {
		if def, ok := snap.Get(d.source, "", name).(*Definition); ok {
			d.follow1(ctx, def)
		} else {
			delete(d.failed, name)
		}
	}
}

// follow1 serves a definition as it is now; an error is for the log, and the definition's conditions say it to its user.
func (d *Definitions) follow1(ctx context.Context, def *Definition) {
	err := d.serve(ctx, def)
	if err == nil {
		delete(d.failed, def.Name)
		return
	}
	if text := err.Error(); d.failed[def.Name] != text && ctx.Err() == nil {
		d.failed[def.Name] = text
		d.log.Error("A definition cannot be served", "definition", def.Name, "error", err)
	}
}

func (d *Definitions) serve(ctx context.Context, def *Definition) error {
	if !accepted(def) {
		return nil // what is served stays as it is
	}
	have, serving := d.served[def.Name]
	if serving && have.definition.UID != def.UID {
		d.remove(def.Name)
		serving = false
	}
	if serving && apiequality.Semantic.DeepEqual(have.definition.Spec, def.Spec) &&
		apiequality.Semantic.DeepEqual(have.definition.Status.AcceptedNames, def.Status.AcceptedNames) {
		if k := *have.kind; k.Unpublished && established(def) {
			k.Unpublished = false
			return d.replace(ctx, def, have.kind, &k)
		}
		return nil
	}
	k, err := safely(def, d.cfg.Hooks)
	if err != nil {
		return err
	}
	if serving && have.kind.Prefix == k.Prefix && have.kind.Namespaced == k.Namespaced {
		return d.replace(ctx, def, have.kind, k)
	}
	if serving {
		d.remove(def.Name)
	}
	if err := d.cfg.Store.AddKind(ctx, k); err != nil {
		return err
	}
	if err := d.cfg.Catalogue.Add(k); err != nil {
		d.cfg.Store.RemoveKind(k)
		return err
	}
	d.served[def.Name] = servedKind{def, k}
	return nil
}

// safely is New, for which a definition that makes it panic is one that cannot be served: it must not keep the server,
// which reads it at every start, from starting.
func safely(def *Definition, hooks Poster) (k *api.Kind, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("customresourcedefinition %s: panic: %v", def.Name, p)
		}
	}()
	return New(def, hooks)
}

// replace swaps the kinds first in the store, so that whoever finds the new one in the catalogue finds its objects. Those
// who still have the old one find the same objects too.
func (d *Definitions) replace(ctx context.Context, def *Definition, old, k *api.Kind) error {
	if err := d.cfg.Store.ReplaceKind(ctx, old, k); err != nil {
		return err
	}
	if err := d.cfg.Catalogue.Replace(old, k); err != nil {
		return errors.Join(err, d.cfg.Store.ReplaceKind(ctx, k, old))
	}
	d.served[def.Name] = servedKind{def, k}
	return nil
}

func (d *Definitions) remove(name string) {
	if have, ok := d.served[name]; ok {
		delete(d.served, name)
		d.cfg.Catalogue.Remove(have.kind)
		d.cfg.Store.RemoveKind(have.kind)
	}
}

// accepted says that a definition is to be served: it has its names, or had them.
func accepted(def *Definition) bool {
	return api.DefinitionIs(def, apiextensionsv1.NamesAccepted) || established(def)
}

// established says that clients may count on what a definition describes: that is when discovery shows it, as upstream. Whoever
// finds it there finds the conditions settled too, and can update the definition.
func established(def *Definition) bool { return api.DefinitionIs(def, apiextensionsv1.Established) }

// Check says why a definition whose names are accepted cannot be served; nil if it can.
func Check(def *Definition, c *api.Catalogue) error {
	k, err := safely(def, nil)
	if err != nil {
		return err
	}
	for _, v := range k.Versions {
		gvk := k.GVK()
		gvk.Version = v.Version
		if other, _ := c.ByKind(gvk); other != nil && other.Convert == nil {
			return fmt.Errorf("%s is a built-in kind", gvk)
		}
		if other, _ := c.ByResource(k.GVR().GroupResource().WithVersion(v.Version)); other != nil && other.Convert == nil {
			return fmt.Errorf("%s is built in", k.GroupResource())
		}
	}
	return nil
}
