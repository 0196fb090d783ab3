package apiserver

import (
	"net"
	"net/netip"
	"sync"

	"codeberg.org/skiff/skiff/server/apiserver/wire"
)

// boundedListener closes connections beyond a number, in all and from one address: those who have one are served, and a
// client that opens ever more hurts itself only.
type boundedListener struct {
	net.Listener
	limit, perAddress int

	mu        sync.Mutex
	open      int
	byAddress map[netip.Addr]int
}

func newBoundedListener(ln net.Listener, limit, perAddress int) *boundedListener {
	return &boundedListener{Listener: ln, limit: limit, perAddress: perAddress, byAddress: map[netip.Addr]int{}}
}

// Accept waits for a connection for which there is room.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := addressOf(conn)
		if l.take(from) {
			return &boundedConn{Corked: wire.Corked{Conn: conn}, release: func() { l.give(from) }}, nil
		}
		_ = conn.Close()
	}
}

func addressOf(c net.Conn) netip.Addr {
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{} // not a TCP connection: all of these count as one address
	}
	return from.Addr().Unmap()
}

func (l *boundedListener) take(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	// The machine itself may have all: what runs on it (pods behind its address, proxies) speaks for many.
	if l.open >= l.limit || !from.IsLoopback() && l.byAddress[from] >= l.perAddress {
		return false
	}
	l.open++
	l.byAddress[from]++
	return true
}

func (l *boundedListener) give(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byAddress[from]--; l.byAddress[from] <= 0 {
		delete(l.byAddress, from)
	}
}

// boundedConn gives its place back when it is closed.
type boundedConn struct {
	wire.Corked
	once    sync.Once
	release func()
}

// Close serves net.Conn.
func (c *boundedConn) Close() error {
	c.once.Do(c.release)
	return c.Conn.Close()
}
