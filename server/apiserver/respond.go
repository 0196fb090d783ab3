package apiserver

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/apiserver/audit"
	"codeberg.org/skiff/skiff/server/apiserver/codec"
	"codeberg.org/skiff/skiff/server/apiserver/fairness"
	"codeberg.org/skiff/skiff/server/apiserver/negotiate"
)

// response remembers what was answered, for metrics and for panics.
type response struct {
	http.ResponseWriter
	status int
	size   int64
	head   bool
	user   user.Info
	// ticket is the seat that the request holds; stream is the user one of whose streams it is, "" if it is none.
	ticket fairness.Ticket
	stream string
	// waited is how long the request was in a queue before its turn.
	waited time.Duration
	// heavy is what the encoding of a long answer has a place in; nil otherwise.
	heavy heavy
	// audit is nil when nothing is written down of the request; auditStart asks for the stage ResponseStarted.
	audit      *audit.Record
	auditStart bool
}

func (w *response) WriteHeader(code int) {
	if w.status == 0 && code >= 200 || code == http.StatusSwitchingProtocols {
		w.status = code
		if w.auditStart {
			w.auditStart = false
			w.audit.Started(code)
		}
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.heavy != nil {
		<-w.heavy
		defer func() { w.heavy <- struct{}{} }()
	}
	n, err := w.ResponseWriter.Write(p)
	w.size += int64(n)
	return n, err
}

// Flush sends what is buffered.
func (w *response) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Hijack takes over the connection, for upgrades.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap serves http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Buffers for bodies, in and out. Big ones are not kept: one large list must not hold its memory for ever.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

const keepBuffer = 256 << 10

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

func putBuffer(b *[]byte) {
	if cap(*b) <= keepBuffer {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// gzipFrom is the size from which compressing is worth its time.
const gzipFrom = 128 << 10

var gzips = sync.Pool{New: func() any { w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed); return w }}

// send writes a body.
func (w *response) send(r *http.Request, code int, mediaType string, body []byte) error {
	h := w.Header()
	h["Content-Type"] = []string{mediaType}
	if len(body) >= gzipFrom {
		h["Vary"] = []string{"Accept-Encoding"}
		if negotiate.Gzip(r) {
			return w.sendGzip(code, body)
		}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(code)
	if w.head {
		return nil
	}
	_, _ = w.Write(body) // a client that went away is nobody's error
	return nil
}

func (w *response) sendGzip(code int, body []byte) error {
	w.Header()["Content-Encoding"] = []string{"gzip"}
	w.WriteHeader(code)
	if w.head {
		return nil
	}
	z := gzips.Get().(*gzip.Writer)
	defer gzips.Put(z)
	z.Reset(w)
	if _, err := z.Write(body); err == nil {
		_ = z.Close()
	}
	return nil
}

// fail answers with the Status of an error, in the format the client reads (JSON if it reads none).
func (s *Server) fail(w *response, r *http.Request, err error) {
	status := statusOf(err)
	setRetryAfter(w.Header(), &status)
	if status.Code >= http.StatusInternalServerError && status.Code != http.StatusServiceUnavailable && r.Context().Err() == nil {
		s.cfg.Log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "code", status.Code, "error", err)
	}
	if w.status != 0 {
		return // the answer has begun
	}
	a, _ := acceptOf(r, true)
	s.writeStatus(w, r, a.format, &status)
}

func (s *Server) writeStatus(w *response, r *http.Request, f codec.Format, status *metav1.Status) {
	buf := getBuffer()
	defer putBuffer(buf)
	status.TypeMeta = metav1.TypeMeta{}
	w.audit.Refused(status)
	body, err := codec.Append(*buf, f, statusGVK, status)
	if err != nil {
		http.Error(w, status.Message, int(status.Code))
		return
	}
	*buf = body
	code := int(status.Code)
	if code == 0 {
		code = http.StatusOK
	}
	_ = w.send(r, code, f.MediaType(), body)
}

// respond answers with one object, in the view that was asked for. obj is of the served version.
func (q *request) respond(code int, gvk schema.GroupVersionKind, obj runtime.Object) error {
	if status, ok := obj.(*metav1.Status); ok {
		copied := *status
		q.writeStatus(q.w, q.r, q.format(), &copied)
		return nil
	}
	q.auditResponse(gvk, obj)
	switch q.accept.view {
	case asTable:
		return q.respondTable(code, gvk, obj)
	case asPartial:
		partial, ok := partialOf(obj)
		if !ok {
			return errAccept(codec.Accepted)
		}
		gvk, obj = schema.GroupVersionKind{Group: metav1.GroupName, Version: q.accept.metaVersion, Kind: "PartialObjectMetadata"}, partial
	}
	buf := getBuffer()
	defer putBuffer(buf)
	body, err := codec.Append(*buf, q.format(), gvk, obj)
	if err != nil {
		return err
	}
	*buf = body
	return q.w.send(q.r, code, q.contentType(), q.prettied(body))
}

// pretty: the client asks for it, or is a person with a browser or curl.
func (q *request) pretty() bool {
	if q.format() != codec.JSON {
		return false
	}
	if text, given := q.get("pretty"); given {
		on, _ := parseBool(text)
		return on
	}
	agent := q.r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}

// prettied is the body with indentation if the client wants that.
func (q *request) prettied(body []byte) []byte {
	if !q.pretty() {
		return body
	}
	var out bytes.Buffer
	if json.Indent(&out, body, "", "  ") != nil {
		return body
	}
	return out.Bytes()
}

// contentType of the answer.
func (q *request) contentType() string { return q.format().MediaType() }

// partialOf is only the metadata of an object.
func partialOf(obj runtime.Object) (*metav1.PartialObjectMetadata, bool) {
	o, ok := obj.(metav1.Object)
	if !ok {
		return nil, false
	}
	partial := &metav1.PartialObjectMetadata{}
	if holder, ok := obj.(metav1.ObjectMetaAccessor); ok {
		if meta, ok := holder.GetObjectMeta().(*metav1.ObjectMeta); ok {
			partial.ObjectMeta = *meta
			return partial, true
		}
	}
	partial.ObjectMeta = metav1.ObjectMeta{
		Name: o.GetName(), GenerateName: o.GetGenerateName(), Namespace: o.GetNamespace(), SelfLink: o.GetSelfLink(), UID: o.GetUID(),
		ResourceVersion: o.GetResourceVersion(), Generation: o.GetGeneration(), CreationTimestamp: o.GetCreationTimestamp(),
		DeletionTimestamp: o.GetDeletionTimestamp(), DeletionGracePeriodSeconds: o.GetDeletionGracePeriodSeconds(),
		Labels: o.GetLabels(), Annotations: o.GetAnnotations(), OwnerReferences: o.GetOwnerReferences(),
		Finalizers: o.GetFinalizers(), ManagedFields: o.GetManagedFields(),
	}
	return partial, true
}
