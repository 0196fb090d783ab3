package server

import (
	"context"
	"io"
	"net/http"
	"sync"

	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/apiserver"
)

// local is an http.RoundTripper that hands requests to the API server in the same process, as a user that needs no
// certificate: no socket, no TLS, no framing. Everything behind authentication is as for any caller.
type local struct {
	handler http.Handler
	user    user.Info
}

// RoundTrip returns when the server has written the header; the body streams.
func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	body, pipe := io.Pipe()
	w := &answer{header: http.Header{}, pipe: pipe, ready: make(chan struct{})}
	in := r.Clone(apiserver.WithUser(ctx, l.user))
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "@"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	go func() {
		defer cancel()
		defer func() {
			// The server recovers from its own panics; one that means "cut the connection" ends here.
			if p := recover(); p != nil {
				w.WriteHeader(http.StatusInternalServerError)
				pipe.CloseWithError(io.ErrUnexpectedEOF)
				return
			}
			w.WriteHeader(http.StatusOK)
			pipe.Close()
		}()
		l.handler.ServeHTTP(w, in)
	}()
	select {
	case <-w.ready:
	case <-r.Context().Done():
		cancel()
		body.CloseWithError(r.Context().Err())
		return nil, r.Context().Err()
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: &localBody{body, cancel}, ContentLength: -1, Request: r,
	}, nil
}

// localBody ends the handler when its reader has had enough.
type localBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b *localBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// answer is the http.ResponseWriter of a local request.
type answer struct {
	header, sent http.Header
	status       int
	pipe         *io.PipeWriter
	once         sync.Once
	ready        chan struct{}
}

func (w *answer) Header() http.Header { return w.header }

func (w *answer) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.ready)
	})
}

func (w *answer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// Flush is there because streams ask for it; nothing is buffered.
func (w *answer) Flush() { w.WriteHeader(http.StatusOK) }
