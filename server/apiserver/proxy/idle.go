package proxy

import (
	"net"
	"sync/atomic"
	"time"
)

// streamIdle is how long an exec, attach or port-forward stream may be silent in both directions before it is cut, as
// upstream's kubelets do.
const streamIdle = 4 * time.Hour

// idleConn closes a connection on which nothing was read or written for a while. One timer serves it; passing bytes only
// notes that they passed.
type idleConn struct {
	net.Conn
	idle  time.Duration
	moved atomic.Bool
	timer *time.Timer
}

func newIdleConn(c net.Conn, idle time.Duration) net.Conn {
	i := &idleConn{Conn: c, idle: idle}
	i.timer = time.AfterFunc(idle, i.look)
	return i
}

// look comes every idle period: what was silent for all of one is cut, so it lasts up to two.
func (c *idleConn) look() {
	if c.moved.Swap(false) {
		c.timer.Reset(c.idle)
		return
	}
	_ = c.Conn.Close()
}

// Read serves net.Conn.
func (c *idleConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.moved.Store(true)
	}
	return n, err
}

// Write serves net.Conn.
func (c *idleConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.moved.Store(true)
	}
	return n, err
}

// Close serves net.Conn.
func (c *idleConn) Close() error {
	c.timer.Stop()
	return c.Conn.Close()
}
