package wire

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Corked is a connection below TLS that can keep for a while what is written to it, and that does not wait for ever for a client that
// reads nothing. Both is asked for by the connection above.
type Corked struct {
	net.Conn
	// patience is how long a write may take without any byte being taken; 0: for ever.
	patience time.Duration

	mu     sync.Mutex
	corked bool
	held   *[]byte
}

func (c *Corked) corkable() *Corked { return c }

func (c *Corked) cork() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.corked, c.held = true, queues.Get().(*[]byte)
}

// uncork writes what was kept.
func (c *Corked) uncork() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.write(*c.held)
	*c.held = (*c.held)[:0]
	queues.Put(c.held)
	c.corked, c.held = false, nil
	return err
}

// Write serves net.Conn.
func (c *Corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.corked {
		*c.held = append(*c.held, p...)
		return len(p), nil
	}
	return c.write(p)
}

func (c *Corked) write(p []byte) (n int, err error) {
	if c.patience == 0 || len(p) == 0 {
		return c.Conn.Write(p)
	}
	for {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(c.patience))
		k, err := c.Conn.Write(p[n:])
		if n += k; err == nil || k == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			_ = c.Conn.SetWriteDeadline(time.Time{})
			return n, err
		}
	}
}
