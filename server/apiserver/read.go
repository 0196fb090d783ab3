package apiserver

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/codec"
	"codeberg.org/skiff/skiff/server/registry"
)

func (q *request) getObject() error {
	obj, err := q.cfg.Registry.Get(q.r.Context(), q.registryRequest(nil, ""), metav1.GetOptions{ResourceVersion: q.query.Get("resourceVersion")})
	if err != nil {
		return err
	}
	if obj, err = q.served(obj); err != nil {
		return err
	}
	return q.respond(http.StatusOK, q.bodyGVK(), obj)
}

func (q *request) list() error {
	opts, err := q.listOptions()
	if err != nil {
		return err
	}
	list, err := q.cfg.Registry.List(q.r.Context(), q.registryRequest(nil, ""), opts)
	if err != nil {
		return err
	}
	q.enterHeavy(len(list.Items))
	defer q.w.leaveHeavy()
	return q.respondList(list)
}

// respondList answers with a page.
func (q *request) respondList(list *registry.List) error {
	meta := metav1.ListMeta{ResourceVersion: strconv.FormatInt(list.Revision, 10), Continue: list.Continue, RemainingItemCount: list.Remaining}
	if q.accept.view == asTable {
		return q.respondTableList(meta, list.Items)
	}
	return q.sendList(q.codecList(meta, list.Items))
}

func (q *request) codecList(meta metav1.ListMeta, items []api.Object) *codec.List {
	l := &codec.List{GVK: q.gvk(), Meta: meta, Len: len(items)}
	l.GVK.Kind = q.kind.ListName()
	switch {
	case q.accept.view == asPartial:
		l.GVK = schema.GroupVersionKind{Group: metav1.GroupName, Version: q.accept.metaVersion, Kind: "PartialObjectMetadataList"}
		l.ItemGVK = schema.GroupVersionKind{Group: metav1.GroupName, Version: q.accept.metaVersion, Kind: "PartialObjectMetadata"}
		l.Item = func(i int) (runtime.Object, error) {
			partial, _ := partialOf(items[i])
			return partial, nil
		}
	case q.version.FromHub != nil:
		l.Item = func(i int) (runtime.Object, error) { return q.version.FromHub(items[i]) }
	default:
		l.Item = func(i int) (runtime.Object, error) { return items[i], nil }
		if kept := q.kept(false, len(items)); kept != nil {
			l.Kept = kept
		}
	}
	return l
}

// listOptions are the query parameters of list, watch and deletecollection.
func (q *request) listOptions() (opts registry.ListOptions, err error) {
	if q.path.watchPrefix && q.path.name != "" {
		opts.Fields = fields.OneTermEqualSelector("metadata.name", q.path.name)
	}
	if len(q.query) == 0 {
		return opts, nil
	}
	if text, _ := q.get("labelSelector"); text != "" {
		if opts.Labels, err = labels.Parse(text); err != nil {
			return opts, apierrors.NewBadRequest(fmt.Sprintf("unable to parse label selector %q: %v", text, err))
		}
	}
	if text, _ := q.get("fieldSelector"); text != "" {
		selector, err := fields.ParseSelector(text)
		if err != nil {
			return opts, apierrors.NewBadRequest(fmt.Sprintf("unable to parse field selector %q: %v", text, err))
		}
		if opts.Fields != nil {
			selector = fields.AndSelectors(opts.Fields, selector)
		}
		opts.Fields = selector
	}
	opts.ResourceVersion = q.query.Get("resourceVersion")
	opts.ResourceVersionMatch = metav1.ResourceVersionMatch(q.query.Get("resourceVersionMatch"))
	opts.Continue = q.query.Get("continue")
	if opts.Limit, err = q.number("limit"); err != nil {
		return opts, err
	}
	seconds, err := q.number("timeoutSeconds")
	if err != nil {
		return opts, err
	}
	opts.Timeout = time.Duration(seconds) * time.Second
	if text, given := q.get("allowWatchBookmarks"); given {
		opts.AllowWatchBookmarks, _ = parseBool(text)
	}
	if text, given := q.get("sendInitialEvents"); given {
		send, _ := parseBool(text)
		opts.SendInitialEvents = &send
	}
	return opts, nil
}

func (q *request) number(name string) (int64, error) {
	text, given := q.get(name)
	if !given || text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, badQuery(name, text)
	}
	return n, nil
}
