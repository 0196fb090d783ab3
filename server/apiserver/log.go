package apiserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// podLog streams a container's log from its kubelet, as text or over a websocket.
func (q *request) podLog() error {
	pod, err := q.pod(q.path.name)
	if err != nil {
		return err
	}
	query, errs := logQuery(q.query)
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Kind: "PodLogOptions"}, pod.Name, errs)
	}
	container, err := q.container(pod)
	if err != nil {
		return err
	}
	if pod.Spec.NodeName == "" {
		q.w.WriteHeader(http.StatusNoContent) // nothing runs yet, so nothing was said
		return nil
	}
	target, err := q.kubelet(pod.Spec.NodeName, podPath("containerLogs", pod, container), query.Encode())
	if err != nil {
		return err
	}
	target.Check = q.kubeletError
	if !isWebSocket(q.r) {
		q.w.Header().Del("Cache-Control")
		q.open(target)
		return nil
	}
	return q.logWebSocket(func(w http.ResponseWriter, r *http.Request) { q.proxy.Serve(w, r, target) })
}

// logQuery checks the options and keeps those that kubelet reads.
func logQuery(in url.Values) (url.Values, field.ErrorList) {
	out, errs := url.Values{}, field.ErrorList{}
	for _, name := range []string{"follow", "previous", "timestamps"} {
		if in.Has(name) {
			on, _ := parseBool(in.Get(name))
			out.Set(name, strconv.FormatBool(on))
		}
	}
	least := map[string]int64{"sinceSeconds": 1, "tailLines": 0, "limitBytes": 1}
	for name, min := range least {
		text := in.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			errs = append(errs, field.Invalid(field.NewPath(name), text, "must be an integer"))
		} else if n < min {
			text := "must be greater than or equal to 0"
			if min > 0 {
				text = "must be greater than 0"
			}
			errs = append(errs, field.Invalid(field.NewPath(name), n, text))
		}
		out.Set(name, text)
	}
	if text := in.Get("sinceTime"); text != "" {
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			errs = append(errs, field.Invalid(field.NewPath("sinceTime"), text, "must be a time in RFC 3339"))
		}
		if in.Get("sinceSeconds") != "" {
			errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
		}
		out.Set("sinceTime", text)
	}
	if stream := in.Get("stream"); stream != "" {
		switch stream {
		case "All", "Stdout", "Stderr":
		default:
			errs = append(errs, field.NotSupported(field.NewPath("stream"), stream, []string{"All", "Stderr", "Stdout"}))
		}
		if stream != "All" && in.Get("tailLines") != "" {
			errs = append(errs, field.Forbidden(field.NewPath(""), "`tailLines` and specific `stream` are mutually exclusive for now"))
		}
		out.Set("stream", stream)
	}
	return out, errs
}

// logWebSocket reads the log by a request of its own and copies it into websocket messages.
func (q *request) logWebSocket(get func(http.ResponseWriter, *http.Request)) error {
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	inner := q.r.Clone(ctx)
	for _, name := range []string{"Upgrade", "Connection", "Sec-Websocket-Key", "Sec-Websocket-Version", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions"} {
		inner.Header.Del(name)
	}
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil && v != http.ErrAbortHandler {
				q.cfg.Log.Error("panic while streaming a log", "panic", fmt.Sprint(v))
			}
			_ = pw.Close()
		}()
		get(&pipeWriter{header: http.Header{}, w: pw}, inner)
	}()
	reader := wsstream.NewReader(pr, true, wsstream.NewDefaultReaderProtocols())
	err := reader.Copy(q.w, q.r)
	_ = pr.Close()
	cancel()
	<-done
	if err != nil && !strings.Contains(err.Error(), "EOF") {
		q.cfg.Log.Debug("log over websocket", "error", err)
	}
	return nil
}

// pipeWriter is a ResponseWriter whose body goes into a pipe.
type pipeWriter struct {
	header http.Header
	w      io.Writer
}

func (p *pipeWriter) Header() http.Header         { return p.header }
func (p *pipeWriter) WriteHeader(int)             {}
func (p *pipeWriter) Write(b []byte) (int, error) { return p.w.Write(b) }
func (p *pipeWriter) Flush()                      {}
