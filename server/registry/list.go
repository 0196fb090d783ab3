package registry

import (
	"context"
	"errors"
	"iter"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	internalvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	textContinueExpired = "The provided continue parameter is too old to display a consistent list result. " +
		"You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. " +
		"Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted " +
		"between the time the first chunk was returned and now may show up in the list."
	textContinueWithVersion = "specifying resource version is not allowed when using continue"
)

// List returns one page.
func (r *Registry) List(ctx context.Context, req Request, opts ListOptions) (*List, error) {
	if err := validateListOptions(opts, false); err != nil {
		return nil, err
	}
	sel, err := newSelector(req, opts.Labels, opts.Fields)
	if err != nil {
		return nil, err
	}
	snap, after, err := r.listAt(ctx, req, opts)
	if err != nil {
		return nil, err
	}
	if n := snap.UnreadableCount(req.Kind, req.Namespace); n > 0 {
		req.Warnf("%d stored %s cannot be read and are not in this list; see the server's log", n, req.Kind.Plural)
	}
	list := page(snap, req, &sel, after, opts.Limit)
	if list.Continue != "" {
		r.store.Hold(snap) // the next page comes from it
	}
	if list.Items, err = req.allSpoken(list.Items); err != nil {
		return nil, err
	}
	return list, nil
}

// listAt chooses the state to list, and the key to go on after, by resourceVersion, its match and the continue token.
//
//	                     no limit             limit
//	""                   newest               newest
//	"0"                  any (newest)         any (newest)
//	N, match unset       not older than N     exactly N
//	N, NotOlderThan      not older than N     not older than N
//	N, Exact             exactly N            exactly N
//	continue             exactly the token's revision; -1 is the newest
func (r *Registry) listAt(ctx context.Context, req Request, opts ListOptions) (*store.Snapshot, string, error) {
	if opts.Continue != "" {
		return r.continueAt(ctx, req, opts)
	}
	rev, err := parseRevision(opts.ResourceVersion)
	if err != nil {
		return nil, "", err
	}
	exact := opts.ResourceVersionMatch == metav1.ResourceVersionMatchExact ||
		opts.ResourceVersionMatch == "" && opts.Limit > 0 && rev > 0
	if !exact {
		snap, err := r.waitFor(ctx, rev)
		return snap, "", statusError(req.Kind, "list", "", err)
	}
	snap, err := r.exactly(ctx, req.Kind, rev)
	return snap, "", statusError(req.Kind, "list", "", err)
}

func (r *Registry) continueAt(ctx context.Context, req Request, opts ListOptions) (*store.Snapshot, string, error) {
	at, err := decodeContinue(opts.Continue)
	if err != nil {
		return nil, "", apierrors.NewBadRequest("invalid continue token: " + err.Error())
	}
	if opts.ResourceVersion != "" && opts.ResourceVersion != "0" {
		return nil, "", apierrors.NewBadRequest(textContinueWithVersion)
	}
	after := at.after
	if req.Kind.Namespaced && req.Namespace != "" {
		after = req.Kind.Key(req.Namespace, at.after)
	}
	if at.revision == inconsistent {
		return r.store.Snapshot(), after, nil
	}
	snap, err := r.exactly(ctx, req.Kind, at.revision)
	if errors.Is(err, store.ErrCompacted) {
		expired := apierrors.NewResourceExpired(textContinueExpired)
		expired.ErrStatus.ListMeta.Continue = position{inconsistent, at.after}.encode()
		return nil, "", expired
	}
	return snap, after, statusError(req.Kind, "list", "", err)
}

// exactly returns the kind's state at rev.
func (r *Registry) exactly(ctx context.Context, k *api.Kind, rev int64) (*store.Snapshot, error) {
	newest, err := r.waitFor(ctx, rev)
	if err != nil {
		return nil, err
	}
	if newest.Revision() == rev {
		return newest, nil
	}
	return r.store.SnapshotAt(ctx, k, rev)
}

// page collects up to limit objects (0: all) after a key.
func page(snap *store.Snapshot, req Request, sel *selector, after string, limit int64) *List {
	list := &List{Items: []api.Object{}, Revision: snap.Revision()}
	if sel.empty() {
		n := snap.Count(req.Kind, req.Namespace)
		if limit > 0 && int64(n) > limit {
			n = int(limit)
		}
		list.Items = make([]api.Object, 0, n)
	}
	var more int64
	for obj := range candidates(snap, req.Kind, req.Namespace, sel, after) {
		if !sel.empty() && !sel.matches(obj) {
			continue
		}
		if limit > 0 && int64(len(list.Items)) == limit {
			more = left(snap, req, sel, after, limit)
			break
		}
		list.Items = append(list.Items, obj)
	}
	if more != 0 {
		list.Continue = position{snap.Revision(), relativeKey(req, list.Items[len(list.Items)-1])}.encode()
		if more > 0 {
			list.Remaining = &more
		}
	}
	return list
}

// unknown is how many objects are left where that is not known without matching them all.
const unknown = -1

// left counts the objects that follow a page of limit objects after a key.
func left(snap *store.Snapshot, req Request, sel *selector, after string, limit int64) int64 {
	if !sel.empty() {
		return unknown
	}
	if after == "" {
		return int64(snap.Count(req.Kind, req.Namespace)) - limit
	}
	var n int64
	for range snap.List(req.Kind, req.Namespace, after) {
		n++
	}
	return n - limit
}

// relativeKey is an object's key within what was listed.
func relativeKey(req Request, obj api.Object) string {
	if req.Kind.Namespaced && req.Namespace == "" {
		return obj.GetNamespace() + "/" + obj.GetName()
	}
	return obj.GetName()
}

// candidates yields, in key order, all objects that the selector may let through, by the cheapest way there is.
func candidates(snap *store.Snapshot, k *api.Kind, namespace string, sel *selector, after string) iter.Seq[api.Object] {
	if namespace == "" && k.Namespaced {
		namespace = sel.namespace
	}
	switch {
	case sel.name != "" && (namespace != "" || !k.Namespaced):
		return one(snap.Get(k, namespace, sel.name), k, after)
	case sel.index != "":
		return within(snap.ByIndex(k, sel.index, sel.value), k, namespace, after)
	}
	return snap.List(k, namespace, after)
}

func one(obj api.Object, k *api.Kind, after string) iter.Seq[api.Object] {
	return func(yield func(api.Object) bool) {
		if obj != nil && k.Key(obj.GetNamespace(), obj.GetName()) > after {
			yield(obj)
		}
	}
}

func within(all iter.Seq[api.Object], k *api.Kind, namespace, after string) iter.Seq[api.Object] {
	return func(yield func(api.Object) bool) {
		for obj := range all {
			if namespace != "" && obj.GetNamespace() != namespace {
				continue
			}
			if after != "" && k.Key(obj.GetNamespace(), obj.GetName()) <= after {
				continue
			}
			if !yield(obj) {
				return
			}
		}
	}
}

// validateListOptions refuses combinations of options that have no meaning.
func validateListOptions(opts ListOptions, watch bool) error {
	errs := internalvalidation.ValidateListOptions(&internalversion.ListOptions{
		ResourceVersion:      opts.ResourceVersion,
		ResourceVersionMatch: opts.ResourceVersionMatch,
		Continue:             opts.Continue,
		Limit:                opts.Limit,
		Watch:                watch,
		SendInitialEvents:    opts.SendInitialEvents,
		AllowWatchBookmarks:  opts.AllowWatchBookmarks,
	}, true)
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", errs)
	}
	return nil
}
