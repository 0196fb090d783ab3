package sdnotify

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestSend(t *testing.T) {
	for name, socket := range map[string]string{
		"file":     filepath.Join(t.TempDir(), "notify"),
		"abstract": "@skiff-sdnotify-test-" + t.Name(),
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			t.Setenv("NOTIFY_SOCKET", socket)
			if err := Send(Ready); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 64)
			if err := listener.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := listener.Read(buf)
			if err != nil || string(buf[:n]) != "READY=1" {
				t.Fatalf("got %q, %v; want READY=1", buf[:n], err)
			}
		})
	}
}

func TestWithoutServiceManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Send(Ready); err != nil {
		t.Errorf("error %v; want none", err)
	}
}

func TestDeadSocket(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	if err := Send(Ready); err == nil {
		t.Error("no error though nobody listens")
	}
}
