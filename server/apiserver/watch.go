package apiserver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/codec"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/store"
)

// minWatch is how long a watch lasts when the client does not say: a random time up to twice this, so that watches that
// began together do not end together.
const minWatch = 30 * time.Minute

func (q *request) watch() error {
	opts, err := q.listOptions()
	if err != nil {
		return err
	}
	opts.Gather = true
	if opts.Timeout <= 0 {
		opts.Timeout = minWatch + rand.N(minWatch)
	}
	if q.format() == codec.YAML {
		return errAccept([]string{codec.Accepted[codec.JSON], codec.Accepted[codec.Protobuf]})
	}
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	w, err := q.cfg.Registry.Watch(ctx, q.registryRequest(nil, ""), opts)
	if ended := endsInStream(err); ended {
		w = endedWatch(err)
	} else if err != nil {
		return err
	}
	defer w.Stop()
	defer q.streaming()()
	q.streams.watch(q.kind, 1)
	defer q.streams.watch(q.kind, -1)
	enc := newEventEncoder(q)
	if isWebSocket(q.r) {
		return q.watchWebSocket(w, enc)
	}
	q.w.Header()["Content-Type"] = []string{enc.streamType()}
	q.w.WriteHeader(http.StatusOK)
	q.w.Flush()
	guard := newSendGuard(q.w.ResponseWriter, q.cfg.SendTimeout)
	q.stream(w, enc, q.r.Context().Done(), func(buf []byte) error {
		return guard.during(func() error {
			if _, err := q.w.Write(buf); err != nil {
				return err
			}
			return http.NewResponseController(q.w.ResponseWriter).Flush()
		})
	})
	return nil
}

// endsInStream tells the errors about revisions, which clients expect as the only event of a watch that did begin.
func endsInStream(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// endedWatch is one that ended with err before anything happened.
func endedWatch(err error) *registry.Watch {
	events := make(chan []*store.Event)
	close(events)
	return &registry.Watch{Events: events, Err: func() error { return err }, Stop: func() {}}
}

// stream sends the initial objects, then batches, until the watch or the client ends. send gets whole events; it is
// called once a batch.
func (q *request) stream(w *registry.Watch, enc *eventEncoder, gone <-chan struct{}, send func([]byte) error) {
	buf := getBuffer()
	defer func() { putBuffer(buf) }()
	if w.Initial != nil || w.InitialRevision != 0 {
		q.enterHeavy(len(w.Initial))
		ok := q.sendInitial(w, enc, buf, send)
		q.w.leaveHeavy()
		if !ok {
			return
		}
	}
	q.releaseSeat(q.w, &q.path) // the rest is done by those who write
	for {
		var batch []*store.Event
		var open bool
		select {
		case batch, open = <-w.Events:
		case <-gone:
			return
		case <-q.stopping:
			return
		}
		out := (*buf)[:0]
		var err error
		if !open {
			if failed := w.Err(); failed != nil {
				if out, err = enc.failure(out, failed); err == nil {
					_ = send(out)
				}
			}
			return
		}
		for _, e := range batch {
			if out, err = enc.event(out, e); err != nil {
				q.cfg.Log.Error("encode watch event", "kind", q.kind.Kind, "revision", e.Revision, "error", err)
				if out, err = enc.failure(out, err); err == nil {
					_ = send(out)
				}
				return
			}
		}
		q.metrics.sent(q.kind, q.version, len(batch))
		if err := send(out); err != nil {
			return
		}
		if *buf = out[:0]; cap(out) > keepBuffer {
			*buf = make([]byte, 0, 8<<10)
		}
	}
}

// sendInitial sends what SendInitialEvents asks for, and the bookmark that ends it.
func (q *request) sendInitial(w *registry.Watch, enc *eventEncoder, buf *[]byte, send func([]byte) error) bool {
	out := (*buf)[:0]
	kept := q.kept(true, len(w.Initial))
	for _, obj := range w.Initial {
		var err error
		if out, err = enc.initial(out, obj, kept); err != nil {
			return false
		}
		if len(out) > 64<<10 {
			if send(out) != nil {
				return false
			}
			out = out[:0]
		}
	}
	out, err := enc.bookmark(out, w.InitialRevision, map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	if err != nil || send(out) != nil {
		return false
	}
	*buf = out[:0]
	return true
}

// eventEncoder writes events in one format, view and version.
type eventEncoder struct {
	q *request
	// key under which an event keeps its bytes; empty for a view that is not shared (tables hold ages).
	key string
	gvk schema.GroupVersionKind
	// columns were sent: a table's first event carries them, later ones do not.
	columns bool
}

func newEventEncoder(q *request) *eventEncoder {
	e := &eventEncoder{q: q, gvk: q.gvk()}
	switch q.accept.view {
	case asTable:
	case asPartial:
		e.gvk = schema.GroupVersionKind{Group: metav1.GroupName, Version: q.accept.metaVersion, Kind: "PartialObjectMetadata"}
		e.key = q.format().MediaType() + ";as=meta;v=" + q.accept.metaVersion
	default:
		e.key = q.format().MediaType() + ";" + e.gvk.GroupVersion().String()
	}
	return e
}

// streamType is the media type of the whole stream.
func (e *eventEncoder) streamType() string {
	if e.q.format() == codec.Protobuf {
		return "application/vnd.kubernetes.protobuf;stream=watch"
	}
	return "application/json"
}

func (e *eventEncoder) event(buf []byte, event *store.Event) ([]byte, error) {
	if event.Type == store.Bookmark {
		return e.bookmark(buf, event.Revision, nil)
	}
	if e.key == "" {
		return e.append(buf, string(event.Type), event.Object)
	}
	data, err := event.Encoded(e.key, func() ([]byte, error) { return e.append(nil, string(event.Type), event.Object) })
	if err != nil {
		return nil, err
	}
	return append(buf, data...), nil
}

// initial appends the event of an object that was there before the watch began.
func (e *eventEncoder) initial(buf []byte, obj api.Object, kept *form) ([]byte, error) {
	if kept == nil {
		return e.append(buf, string(store.Added), obj)
	}
	if data, ok := kept.Get(obj); ok {
		return append(buf, data...), nil
	}
	start := len(buf)
	buf, err := e.append(buf, string(store.Added), obj)
	if err == nil {
		kept.Put(obj, buf[start:])
	}
	return buf, err
}

// append encodes one event of a stored object.
func (e *eventEncoder) append(buf []byte, eventType string, obj api.Object) ([]byte, error) {
	served, err := e.q.served(obj)
	if err != nil {
		return nil, err
	}
	gvk := e.gvk
	switch e.q.accept.view {
	case asTable:
		if spoken, ok := served.(api.Object); ok && e.q.kind.Convert != nil {
			obj = spoken // the columns of a custom kind are its version's
		}
		table, err := e.q.table(metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()}, []api.Object{obj})
		if err != nil {
			return nil, err
		}
		if e.columns {
			table.ColumnDefinitions = nil
		}
		e.columns = true
		gvk, served = e.q.tableGVK(), table
	case asPartial:
		served, _ = partialOf(served)
	}
	scratch := getBuffer()
	defer putBuffer(scratch)
	data, err := codec.Append(*scratch, e.q.format(), gvk, served)
	if err != nil {
		return nil, err
	}
	*scratch = data
	return codec.AppendEvent(buf, e.q.format(), eventType, data), nil
}

func (e *eventEncoder) bookmark(buf []byte, revision int64, annotations map[string]string) ([]byte, error) {
	obj := e.q.kind.Hub().New()
	obj.SetResourceVersion(strconv.FormatInt(revision, 10))
	obj.SetAnnotations(annotations)
	if _, custom := obj.(runtime.Unstructured); custom {
		obj.GetObjectKind().SetGroupVersionKind(e.q.gvk())
	}
	if e.q.accept.view == asTable {
		// A table has no row for a bookmark, only the revision; clients look at the row's object for annotations.
		table := &metav1.Table{ListMeta: metav1.ListMeta{ResourceVersion: obj.GetResourceVersion()}}
		partial, _ := partialOf(obj)
		partial.TypeMeta = metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: "meta.k8s.io/v1"}
		table.Rows = []metav1.TableRow{{Cells: make([]any, len(e.q.kind.ColumnsOf(e.q.version))+1), Object: runtime.RawExtension{Object: partial}}}
		return e.plain(buf, string(store.Bookmark), e.q.tableGVK(), table)
	}
	return e.append(buf, string(store.Bookmark), obj)
}

// failure is an ERROR event with the Status of err; a watch whose reader was too slow may begin again.
func (e *eventEncoder) failure(buf []byte, err error) ([]byte, error) {
	status := statusOf(err)
	return e.plain(buf, "ERROR", statusGVK, &status)
}

func (e *eventEncoder) plain(buf []byte, eventType string, gvk schema.GroupVersionKind, obj runtime.Object) ([]byte, error) {
	data, err := codec.Append(nil, e.q.format(), gvk, obj)
	if err != nil {
		return nil, fmt.Errorf("encode %s event: %w", eventType, err)
	}
	return codec.AppendEvent(buf, e.q.format(), eventType, data), nil
}
