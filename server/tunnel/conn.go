package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// lingerTime is how long a closed connection waits for its last bytes to leave before it is cut.
const lingerTime = time.Second

// dial opens a CONNECT stream.
func (t *tunnel) dial(ctx context.Context, addr string) (net.Conn, error) {
	local, remote := net.Pipe()
	// The stream lives on when ctx, which is for dialling, has ended.
	streamCtx, cut := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cut)
	c := &streamConn{Conn: local, addr: addr, node: t.node, closed: make(chan struct{})}
	req := (&http.Request{
		Method: http.MethodConnect, URL: &url.URL{Host: addr}, Host: addr,
		Header: http.Header{}, Body: &requestBody{remote, c}, ContentLength: -1,
	}).WithContext(streamCtx)
	resp, err := t.cc.RoundTrip(req)
	if err == nil && !stop() {
		resp.Body.Close()
		err = context.Cause(ctx)
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		resp.Body.Close()
		err = fmt.Errorf("the node says: %s", strings.TrimSpace(string(said)))
	}
	if err != nil {
		cut()
		local.Close()
		remote.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	go c.receive(remote, resp.Body, cut)
	return c, nil
}

// requestBody is the sending half of a stream: the tunnel reads from the pipe what its user writes.
type requestBody struct {
	remote net.Conn
	user   *streamConn
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.remote.Read(p)
	if errors.Is(err, io.ErrClosedPipe) {
		err = io.EOF
	}
	return n, err
}

// Close ends this half only, because the other may still have something to deliver: the tunnel's reader returns, and the
// user's writer fails.
func (b *requestBody) Close() error {
	b.user.broken.Store(true)
	past := time.Unix(1, 0)
	return errors.Join(b.remote.SetReadDeadline(past), b.user.Conn.SetWriteDeadline(past))
}

// streamConn is the user's end of the pipe.
type streamConn struct {
	net.Conn
	node, addr string
	once       sync.Once
	closed     chan struct{}
	// broken: nobody takes what is written any more.
	broken atomic.Bool
}

// receive copies from the tunnel until either side ends.
func (c *streamConn) receive(remote net.Conn, body io.ReadCloser, cut context.CancelFunc) {
	defer cut()
	defer body.Close()
	defer remote.Close()
	done := make(chan struct{})
	go func() {
		// Closed by its user: what was written before still has to leave, so the stream is not cut at once.
		select {
		case <-done:
			return
		case <-c.closed:
		}
		linger := time.NewTimer(lingerTime)
		defer linger.Stop()
		select {
		case <-done:
		case <-linger.C:
			cut()
		}
	}()
	defer close(done)
	buf := buffers.Get().(*[16 << 10]byte)
	defer buffers.Put(buf)
	if _, err := io.CopyBuffer(onlyWriter{remote}, onlyReader{body}, buf[:]); errors.Is(err, io.ErrClosedPipe) {
		io.CopyBuffer(io.Discard, onlyReader{body}, buf[:])
	}
}

var buffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// onlyReader and onlyWriter keep io.CopyBuffer to the buffer it is given.
type onlyReader struct{ io.Reader }
type onlyWriter struct{ io.Writer }

func (c *streamConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// Write says what happened in the words of a socket.
func (c *streamConn) Write(p []byte) (int, error) {
	n, err := 0, error(nil)
	if !c.broken.Load() {
		n, err = c.Conn.Write(p)
	}
	if err == nil && n == len(p) {
		return n, nil
	}
	select {
	case <-c.closed:
		return n, net.ErrClosed
	default:
	}
	if c.broken.Load() || errors.Is(err, io.ErrClosedPipe) {
		err = syscall.EPIPE
	}
	return n, err
}

func (c *streamConn) RemoteAddr() net.Addr { return streamAddr(c.addr) }
func (c *streamConn) LocalAddr() net.Addr  { return streamAddr("tunnel/" + c.node) }

type streamAddr string

func (a streamAddr) Network() string { return "tcp" }
func (a streamAddr) String() string  { return string(a) }

// endedConn is the tunnel's connection; ended is closed when it is.
type endedConn struct {
	net.Conn
	r     *bufio.Reader // what the HTTP server had read already comes first
	once  sync.Once
	ended chan struct{}
}

func (c *endedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *endedConn) Close() error {
	c.once.Do(func() { close(c.ended) })
	return c.Conn.Close()
}
