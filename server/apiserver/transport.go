package apiserver

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"

	"k8s.io/apiserver/pkg/authentication/user"
)

// RoundTripper calls the server in-process as a user: no socket, no TLS, no HTTP framing. It is what the agent in the
// same process gives its client. Upgrades are not served: dial for those.
func (s *Server) RoundTripper(u user.Info) http.RoundTripper { return &inProcess{server: s, user: u} }

type inProcess struct {
	server *Server
	user   user.Info
}

// RoundTrip returns as soon as the handler has written a status; the body is what it writes from then on.
func (t *inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(WithUser(req.Context(), t.user))
	r := req.Clone(ctx)
	r.RequestURI, r.RemoteAddr = req.URL.RequestURI(), "in-process"
	if r.Host == "" {
		r.Host = req.URL.Host
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	body := &inProcessBody{cancel: cancel}
	body.ready.L = &body.mu
	w := &inProcessWriter{header: http.Header{}, body: body, began: make(chan struct{})}
	go func() {
		defer cancel()
		defer func() {
			v := recover()
			w.WriteHeader(http.StatusOK)
			if v != nil {
				body.end(errors.New("the API server aborted the request"))
			}
			body.end(io.EOF)
			_ = r.Body.Close()
		}()
		t.server.ServeHTTP(w, r)
	}()
	select {
	case <-w.began:
	case <-req.Context().Done():
		cancel()
		<-w.began
		_ = body.Close()
		return nil, req.Context().Err()
	}
	length := int64(-1)
	return &http.Response{Status: http.StatusText(w.code), StatusCode: w.code, Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: w.sent, Body: body, ContentLength: length, Request: req}, nil
}

// inProcessWriter is the ResponseWriter of one request.
type inProcessWriter struct {
	header, sent http.Header
	body         *inProcessBody
	began        chan struct{}
	once         sync.Once
	code         int
}

func (w *inProcessWriter) Header() http.Header { return w.header }

func (w *inProcessWriter) WriteHeader(code int) {
	w.once.Do(func() {
		w.code, w.sent = code, w.header.Clone()
		close(w.began)
	})
}

func (w *inProcessWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.write(p)
}

// Flush sends nothing that was not sent: there is no buffer between the two sides.
func (w *inProcessWriter) Flush() { w.WriteHeader(http.StatusOK) }

// Hijack is not possible: there is no connection.
func (w *inProcessWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, http.ErrNotSupported
}

// inProcessLimit is how much a writer may be ahead of the reader before it waits.
const inProcessLimit = 256 << 10

// inProcessBody is a pipe with a bounded buffer.
type inProcessBody struct {
	mu     sync.Mutex
	ready  sync.Cond
	buf    []byte
	off    int
	err    error // set by the writer's end
	closed bool  // set by the reader
	cancel context.CancelFunc
}

func (b *inProcessBody) write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed && len(b.buf)-b.off > inProcessLimit {
		b.ready.Wait()
	}
	if b.closed {
		return 0, io.ErrClosedPipe
	}
	if b.off == len(b.buf) {
		b.buf, b.off = b.buf[:0], 0
	}
	b.buf = append(b.buf, p...)
	b.ready.Broadcast()
	return len(p), nil
}

func (b *inProcessBody) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.ready.Broadcast()
}

// Read serves http.Response.Body.
func (b *inProcessBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.off == len(b.buf) && b.err == nil && !b.closed {
		b.ready.Wait()
	}
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case b.off < len(b.buf):
		n := copy(p, b.buf[b.off:])
		if b.off += n; b.off == len(b.buf) {
			b.off = 0
			if cap(b.buf) > 64<<10 {
				b.buf = nil // a watch goes on for long after a large first batch
			} else {
				b.buf = b.buf[:0]
			}
		}
		b.ready.Broadcast()
		return n, nil
	}
	return 0, b.err
}

// Close ends the request on the server's side too.
func (b *inProcessBody) Close() error {
	b.mu.Lock()
	b.closed, b.buf, b.off = true, nil, 0
	b.ready.Broadcast()
	b.mu.Unlock()
	b.cancel()
	return nil
}
