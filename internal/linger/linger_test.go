package linger

import (
	"io"
	"net"
	"testing"
	"time"
)

// pair is a server's end, lingering, and its client's.
func pair(t *testing.T) (server *Conn, client *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	from, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = to.Close(); _ = from.Close() })
	return New(from), to.(*net.TCPConn) //nolint:forcetypeassert // "tcp"
}

// TestLastWordsArrive: the client sends far more than sockets hold after the server has said its last word and closed. No write
// of it may fail, and the word is there to be read.
func TestLastWordsArrive(t *testing.T) {
	server, client := pair(t)
	if _, err := client.Write([]byte("unread")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(server, "refused"); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- server.Close() }()
	for range 256 {
		if _, err := client.Write(make([]byte, 64<<10)); err != nil {
			t.Fatalf("a write after the server's end: %v", err)
		}
	}
	if word, err := io.ReadAll(client); err != nil || string(word) != "refused" {
		t.Errorf("%q %v", word, err)
	}
	_ = client.Close()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := server.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// TestDeadlinesDoNotExtendTheEnd: what holds a connection and sets its deadlines cannot make a silent peer last.
func TestDeadlinesDoNotExtendTheEnd(t *testing.T) {
	silent := &silentConn{}
	server := New(silent)
	if err := server.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := server.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	bound := silent.deadline
	if bound.IsZero() {
		t.Error("a silent peer may go on for ever")
	}
	for _, set := range []func(time.Time) error{server.SetDeadline, server.SetReadDeadline, server.SetWriteDeadline} {
		if err := set(time.Time{}); err != nil || !silent.deadline.Equal(bound) {
			t.Errorf("the bound is %v now, was %v; %v", silent.deadline, bound, err)
		}
	}
}

// silentConn keeps the last deadline.
type silentConn struct {
	net.Conn
	deadline time.Time
}

func (c *silentConn) CloseWrite() error                  { return nil }
func (c *silentConn) SetDeadline(t time.Time) error      { c.deadline = t; return nil }
func (c *silentConn) SetReadDeadline(t time.Time) error  { c.deadline = t; return nil }
func (c *silentConn) SetWriteDeadline(t time.Time) error { c.deadline = t; return nil }
