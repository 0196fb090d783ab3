package wire

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"codeberg.org/skiff/skiff/server/pki"
)

// countingConn counts writes.
type countingConn struct {
	net.Conn
	writes atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// gathered is a connection that gathers, after the handshake, and its client. What lies between them buffers nothing.
func gathered(t *testing.T, patience time.Duration) (*gatherConn, *countingConn, *tls.Conn) {
	t.Helper()
	ca, err := pki.LoadCA(t.TempDir(), "ca", "test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(pki.Leaf{CommonName: "server", DNSNames: []string{"server"}, Server: true}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	counted := &countingConn{Conn: near}
	below := &Corked{Conn: counted}
	server := tls.Server(below, &tls.Config{Certificates: []tls.Certificate{*cert}, SessionTicketsDisabled: true})
	client := tls.Client(far, &tls.Config{RootCAs: ca.Pool(), ServerName: "server"})
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
	})
	counted.writes.Store(0)
	return newGatherConn(server, below, patience), counted, client
}

// frames are n full ones, all different.
func frames(n int) []byte {
	out := make([]byte, n*(16<<10+9))
	for i := range out {
		out[i] = byte(i / 7)
	}
	return out
}

func TestFramesThatWaitAreSentAtOnce(t *testing.T) {
	c, counted, client := gathered(t, time.Minute)
	sent := frames(7)
	for frame := range bytesOf(sent, 7) {
		if _, err := c.Write(frame); err != nil {
			t.Fatal(err)
		}
		for counted.writes.Load() == 0 { // the first one is on its way, and stays there, for nobody reads
			time.Sleep(time.Millisecond)
		}
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("read: %v", err)
	}
	if n := counted.writes.Load(); n != 2 {
		t.Errorf("%d writes for the first frame and six that waited, want 2", n)
	}
	go func() { _, _ = c.Write([]byte("end")) }()
	if n, err := client.Read(got); err != nil || string(got[:n]) != "end" {
		t.Errorf("read: %q %v", got[:n], err)
	}
}

func bytesOf(p []byte, parts int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for i := range parts {
			if !yield(p[i*len(p)/parts : (i+1)*len(p)/parts]) {
				return
			}
		}
	}
}

func TestClosingLetsTheQueueLeave(t *testing.T) {
	c, _, client := gathered(t, time.Minute)
	sent := frames(5)
	for frame := range bytesOf(sent, 5) {
		if _, err := c.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	go c.Close()
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("read %d of %d bytes: %v", len(got), len(sent), err)
	}
}

// A client that reads nothing holds a bounded queue and is given up.
func TestWhoReadsNothingIsGivenUp(t *testing.T) {
	c, _, _ := gathered(t, 100*time.Millisecond)
	frame, written := frames(1), 0
	for {
		n, err := c.Write(frame)
		if err != nil {
			break
		}
		if written += n; written > 3*mostQueued {
			t.Fatalf("%d bytes were taken for somebody who reads nothing", written)
		}
	}
	began := time.Now()
	_ = c.Close()
	if took := time.Since(began); took > lingering/2 {
		t.Errorf("closing took %v", took)
	}
}

// One that reads slowly is not.
func TestWhoReadsSlowlyIsServed(t *testing.T) {
	c, _, client := gathered(t, 200*time.Millisecond)
	sent := frames(3)
	go func() {
		for frame := range bytesOf(sent, 3) {
			_, _ = c.Write(frame)
		}
	}()
	got := make([]byte, 0, len(sent))
	for len(got) < len(sent) {
		time.Sleep(50 * time.Millisecond)
		n, err := client.Read(got[len(got):cap(got)])
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		got = got[:len(got)+n]
	}
	if !bytes.Equal(got, sent) {
		t.Error("something else came")
	}
}
