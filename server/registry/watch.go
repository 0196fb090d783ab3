package registry

import (
	"context"
	"errors"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// bookmarkInterval is how often a quiet watch that allows bookmarks gets one.
const bookmarkInterval = time.Minute

// Watch delivers the changes that the selectors let through; leaving a selector is Deleted, entering it Added. With
// SendInitialEvents the current objects come first, then a Bookmark annotated k8s.io/initial-events-end.
//
//	resourceVersion   sendInitialEvents   what comes
//	"" or "0"         unset               the current objects as Added events, then changes
//	N                 unset               changes after N; 410 when N is gone from history
//	""                false               changes from now on
//	any               true                the objects at N or later in Initial, then changes
func (r *Registry) Watch(ctx context.Context, req Request, opts ListOptions) (*Watch, error) {
	if err := validateListOptions(opts, true); err != nil {
		return nil, err
	}
	sel, err := newSelector(req, opts.Labels, opts.Fields)
	if err != nil {
		return nil, err
	}
	rev, err := parseRevision(opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	cancel := context.CancelFunc(func() {})
	if opts.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, opts.Timeout)
	}
	w, err := r.watch(ctx, req, opts, &sel, rev)
	if err != nil {
		cancel()
		return nil, statusError(req.Kind, "watch", "", err)
	}
	stop := w.Stop
	w.Stop = func() { cancel(); stop() }
	return w, nil
}

func (r *Registry) watch(ctx context.Context, req Request, opts ListOptions, sel *selector, rev int64) (*Watch, error) {
	initial := opts.SendInitialEvents != nil && *opts.SendInitialEvents
	synthetic := opts.SendInitialEvents == nil && rev == 0
	snap, err := r.waitFor(ctx, rev)
	if err != nil {
		return nil, err
	}
	from := rev
	if initial || synthetic || rev == 0 {
		from = snap.Revision()
	}
	var first []api.Object
	if initial || synthetic {
		if first, err = req.allSpoken(page(snap, req, sel, "", 0).Items); err != nil {
			return nil, err
		}
	}
	o := watchOptions(req, opts, sel, from)
	if synthetic && len(first) > 0 {
		o.First = added(sel.kind, first)
	}
	w, err := r.store.Watch(ctx, o)
	if errors.Is(err, store.ErrCompacted) {
		return nil, tooOld(from, snap)
	}
	if err != nil {
		return nil, err
	}
	out := &Watch{Err: watchError(w, from, r.store), Stop: w.Stop, Events: w.Events()}
	if initial {
		out.Initial, out.InitialRevision = first, snap.Revision()
	}
	return out, nil
}

// watchOptions choose the cheapest stream of the store that holds all that the selector may let through.
func watchOptions(req Request, opts ListOptions, sel *selector, from int64) store.WatchOptions {
	o := store.WatchOptions{
		Kinds:     []*api.Kind{req.Kind},
		From:      from,
		Namespace: req.Namespace,
		Index:     sel.index,
		Value:     sel.value,
		Gather:    opts.Gather,
	}
	if o.Namespace == "" && req.Kind.Namespaced {
		o.Namespace = sel.namespace
	}
	if opts.AllowWatchBookmarks {
		o.Bookmarks = bookmarkInterval
	}
	if !sel.empty() {
		o.See = sel.filter
	}
	return o
}

// watchError makes the Status of a watch that ended by itself.
func watchError(w *store.Watch, from int64, s *store.Store) func() error {
	return func() error {
		err := w.Err()
		switch {
		case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrSlow),
			errors.Is(err, store.ErrKindRemoved):
			return nil // the watch just ends: its reader goes on from the last revision it saw
		case errors.Is(err, store.ErrCompacted):
			return tooOld(from, s.Snapshot())
		}
		return apierrors.NewInternalError(err)
	}
}

func tooOld(from int64, now *store.Snapshot) error {
	return apierrors.NewResourceExpired("too old resource version: " + strconv.FormatInt(from, 10) +
		" (" + strconv.FormatInt(now.Revision(), 10) + ")")
}

// added makes Added events of a state.
func added(k *api.Kind, objects []api.Object) []*store.Event {
	events := make([]*store.Event, len(objects))
	for i, obj := range objects {
		events[i] = &store.Event{Type: store.Added, Kind: k, Object: obj, Revision: revisionOf(obj)}
	}
	return events
}

// filter returns the events of a batch that the selector lets through.
func (s *selector) filter(batch []*store.Event) []*store.Event {
	out := make([]*store.Event, 0, len(batch))
	for _, e := range batch {
		if e = s.see(e); e != nil {
			out = append(out, e)
		}
	}
	return out
}

// see is an event as someone sees it who knows only what the selector lets through; nil if nothing happened for them.
//
//	was in   is in    type
//	no       no       nothing
//	no       yes      Added
//	yes      yes      Modified
//	yes      no       Deleted, with the last state that was in
func (s *selector) see(e *store.Event) *store.Event {
	if e.Type == store.Bookmark {
		return e
	}
	is := e.Type != store.Deleted && s.matches(e.Object)
	was := e.Old != nil && s.matches(e.Old)
	if e.Type == store.Deleted && e.Old == nil {
		was = s.matches(e.Object)
	}
	switch {
	case is && was, is && e.Type == store.Added, was && e.Type == store.Deleted:
		return e
	case is:
		return e.As(store.Added)
	case was:
		return e.Gone()
	}
	return nil
}
