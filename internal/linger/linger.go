// Package linger ends connections so that what was written last arrives.
//
// A socket that is closed while bytes of its peer wait unread is reset, and a reset takes with it what was not sent yet and makes the
// peer's next write fail. A stream that ends in an error is often such a socket: the client still sends what nobody reads any more (stdin
// of a command that has ended, a request to a port that refused), and would hear "connection reset" or "broken pipe" instead of the error.
// So the last words are followed by the end of our half only; the connection is closed when the peer has closed too, or after Limit.
//
// The package starts no goroutine.
package linger

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limit is how long a peer may go on after our half of a connection has ended.
const Limit = 15 * time.Second

// Writer is w, of which a hijacked connection lingers when it is closed. It has nothing else of what w can beyond
// http.ResponseWriter: it is for handlers that answer with an upgrade or an error.
func Writer(w http.ResponseWriter) http.ResponseWriter { return &writer{w} }

// writer hides Unwrap: libraries would take the connection from what is below.
type writer struct{ inner http.ResponseWriter }

func (w *writer) Header() http.Header         { return w.inner.Header() }
func (w *writer) Write(p []byte) (int, error) { return w.inner.Write(p) }
func (w *writer) WriteHeader(code int)        { w.inner.WriteHeader(code) }

// Hijack serves http.Hijacker.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.inner).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return New(conn), buffered, nil
}

// Conn is a connection whose Close ends our half first and then waits for the peer's, at most for Limit.
type Conn struct {
	net.Conn
	close sync.Once

	mu    sync.Mutex
	ended bool // our half
}

// New wraps a connection. One that cannot end half is closed at once.
func New(conn net.Conn) *Conn { return &Conn{Conn: conn} }

// CloseWrite ends our half and bounds how long the peer's may last.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return c.Conn.Close()
	}
	c.mu.Lock()
	if !c.ended {
		c.ended = true
		_ = c.Conn.SetDeadline(time.Now().Add(Limit))
	}
	c.mu.Unlock()
	return half.CloseWrite()
}

// Close returns when the peer has ended its half, or after Limit. What the peer still sends is thrown away.
func (c *Conn) Close() error {
	var err error
	c.close.Do(func() {
		if c.CloseWrite() == nil {
			_, _ = io.Copy(io.Discard, c.Conn)
		}
		err = c.Conn.Close()
	})
	return err
}

// SetDeadline serves net.Conn, as the next two: the bound of a half that has ended stays.
func (c *Conn) SetDeadline(t time.Time) error { return c.deadline(t, c.Conn.SetDeadline) }

// SetReadDeadline serves net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.deadline(t, c.Conn.SetReadDeadline) }

// SetWriteDeadline serves net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.deadline(t, c.Conn.SetWriteDeadline) }

func (c *Conn) deadline(t time.Time, set func(time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	return set(t)
}
