package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const (
	// frameBuffer is what http2 gathers by itself; less than that is the end of what it has to say now, and is not queued.
	frameBuffer = 4 << 10
	// mostQueued is how much may wait while as much is being sent; then the writer waits.
	mostQueued = 128 << 10
	// lingering is how long closing waits for what is queued.
	lingering = time.Second
)

// queues are the buffers of connections that are sending; others have none.
var queues = sync.Pool{New: func() any { b := make([]byte, 0, mostQueued+4<<10); return &b }}

// gatherConn is the connection of an HTTP/2 server, which is its only writer.
type gatherConn struct {
	*tls.Conn
	below *Corked

	mu      sync.Mutex
	changed sync.Cond
	queue   *[]byte // nil while there is nothing
	sending bool
	err     error
}

// ServeHTTP2 makes srv, which was configured with h2, speak HTTP/2 over connections that gather. Those that it accepts have to be
// [Corked]. patience is how long a client may take none of what is sent.
func ServeHTTP2(srv *http.Server, h2 *http2.Server, patience time.Duration) {
	srv.TLSNextProto[http2.NextProtoTLS] = func(_ *http.Server, conn *tls.Conn, h http.Handler) {
		below, ok := conn.NetConn().(interface{ corkable() *Corked })
		if !ok {
			_ = conn.Close()
			return
		}
		opts := &http2.ServeConnOpts{Handler: h, BaseConfig: srv}
		// net/http has no other way to hand the connection's context over.
		if based, ok := h.(interface{ BaseContext() context.Context }); ok {
			opts.Context = based.BaseContext()
		}
		h2.ServeConn(newGatherConn(conn, below.corkable(), patience), opts)
	}
}

func newGatherConn(conn *tls.Conn, below *Corked, patience time.Duration) *gatherConn {
	below.patience = patience
	c := &gatherConn{Conn: conn, below: below}
	c.changed.L = &c.mu
	return c
}

// Write serves net.Conn.
func (c *gatherConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if !c.sending && c.err == nil && len(p) < frameBuffer {
		c.mu.Unlock()
		return c.Conn.Write(p)
	}
	defer c.mu.Unlock()
	for c.err == nil && c.queue != nil && len(*c.queue) > 0 && len(*c.queue)+len(p) > mostQueued {
		c.changed.Wait()
	}
	if c.err != nil {
		return 0, c.err
	}
	if c.queue == nil {
		c.queue = queues.Get().(*[]byte)
	}
	*c.queue = append(*c.queue, p...)
	if !c.sending {
		c.sending = true
		go c.send()
	}
	return len(p), nil
}

// send sends what is queued until there is no more.
func (c *gatherConn) send() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.queue != nil && c.err == nil {
		piece := c.queue
		c.queue = nil
		c.changed.Broadcast()
		c.mu.Unlock()
		err := c.sendAtOnce(*piece)
		*piece = (*piece)[:0]
		queues.Put(piece)
		c.mu.Lock()
		if err != nil {
			c.err = err
		}
	}
	c.sending = false
	c.changed.Broadcast()
}

// sendAtOnce sends p in as many records as it takes and one system call.
func (c *gatherConn) sendAtOnce(p []byte) error {
	c.below.cork()
	_, err := c.Conn.Write(p)
	return errors.Join(err, c.below.uncork())
}

// Close serves net.Conn. It lets what is queued leave, for a moment.
func (c *gatherConn) Close() error {
	late := time.AfterFunc(lingering, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err == nil {
			c.err = net.ErrClosed
		}
		c.changed.Broadcast()
	})
	c.mu.Lock()
	for c.sending && c.err == nil {
		c.changed.Wait()
	}
	c.mu.Unlock()
	late.Stop()
	return c.Conn.Close()
}
