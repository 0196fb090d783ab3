package httpapi_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	utilexec "k8s.io/client-go/util/exec"

	"k8s.io/apimachinery/pkg/util/httpstream"
	portforwardconsts "k8s.io/cri-streaming/pkg/streaming/portforward"

	"codeberg.org/skiff/skiff/runtime/container"
)

// dialers are the two ways to a pod's ports.
func dialers(t *testing.T, base string) map[string]httpstream.Dialer {
	t.Helper()
	to, err := url.Parse(base + "/portForward/ns/pod")
	if err != nil {
		t.Fatal(err)
	}
	transport, upgrader, err := spdy.RoundTripperFor(&rest.Config{Host: base})
	if err != nil {
		t.Fatal(err)
	}
	tunnel, err := portforward.NewSPDYOverWebsocketDialer(to, &rest.Config{Host: base})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]httpstream.Dialer{"SPDY": spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, to), "websocket": tunnel}
}

// TestRefusedPort: every connection to a port that refuses hears why, on the error's stream, and none that its stream was reset.
func TestRefusedPort(t *testing.T) {
	base := serve(t, &node{})
	for name, dialer := range dialers(t, base) {
		conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range 50 {
			open := func(kind string) httpstream.Stream {
				h := http.Header{}
				h.Set(portforwardconsts.StreamType, kind)
				h.Set(portforwardconsts.PortHeader, "99")
				h.Set(portforwardconsts.PortForwardRequestIDHeader, fmt.Sprint(i))
				s, err := conn.CreateStream(h)
				if err != nil {
					t.Fatalf("%s, connection %d: %s stream: %v", name, i, kind, err)
				}
				return s
			}
			failed := open(portforwardconsts.StreamTypeError)
			data := open(portforwardconsts.StreamTypeData)
			said, err := io.ReadAll(failed)
			if err != nil || !strings.Contains(string(said), "connection refused") {
				t.Fatalf("%s, connection %d: it said %q, %v", name, i, said, err)
			}
			if rest, err := io.ReadAll(data); err != nil || len(rest) != 0 {
				t.Fatalf("%s, connection %d: data %q, %v", name, i, rest, err)
			}
		}
		_ = conn.Close()
	}
}

// endless is a stdin that the command does not read, far more than what sockets and windows hold.
func endless() io.Reader { return io.LimitReader(zeros{}, 64<<20) }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestExitCodeBesideUnreadInput: a command that ends without having read its input ends with its own code, whatever the client still
// sends, as does one that cannot start.
func TestExitCodeBesideUnreadInput(t *testing.T) {
	n := &node{}
	base := serve(t, n)
	to, err := url.Parse(base + "/exec/ns/pod/main?command=x&input=1&output=1&error=1")
	if err != nil {
		t.Fatal(err)
	}
	overSPDY, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: base}, http.MethodPost, to)
	if err != nil {
		t.Fatal(err)
	}
	overWebSocket, err := remotecommand.NewWebSocketExecutor(&rest.Config{Host: base}, http.MethodGet, to.String())
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]remotecommand.Executor{"SPDY": overSPDY, "websocket": overWebSocket} {
		n.run = func(spec container.ExecSpec) (int, error) {
			// The input is on its way when the command ends.
			if _, err := io.ReadFull(spec.Stdin, make([]byte, 1)); err != nil {
				return 0, err
			}
			return 7, nil
		}
		err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: endless(), Stdout: io.Discard, Stderr: io.Discard})
		var exit utilexec.CodeExitError
		if !errors.As(err, &exit) || exit.Code != 7 {
			t.Errorf("%s: exit code 7: %v", name, err)
		}
		n.run = func(container.ExecSpec) (int, error) { return 0, errors.New("no such file") }
		err = e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: endless(), Stdout: io.Discard, Stderr: io.Discard})
		if err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%s: a command that cannot start: %v", name, err)
		}
	}
}

// TestLateInputIsTaken: what the client still sends after the end was said is taken and thrown away until the client closes; a socket
// that is closed before would break the client's write, and whoever passes the bytes on would end before the last words.
func TestLateInputIsTaken(t *testing.T) {
	n := &node{
		run:    func(container.ExecSpec) (int, error) { return 7, nil },
		attach: func(container.AttachSpec) error { return errors.New("container is gone") },
	}
	base := serve(t, n)
	for protocol, path := range map[string]string{"v5.channel.k8s.io": "/exec/ns/pod/main?command=x&input=1&output=1", "v4.channel.k8s.io": "/attach/ns/pod/main?input=1&output=1"} {
		config, err := websocket.NewConfig("ws"+strings.TrimPrefix(base, "http")+path, base)
		if err != nil {
			t.Fatal(err)
		}
		config.Protocol = []string{protocol}
		ws, err := websocket.DialConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		ws.PayloadType = websocket.BinaryFrame
		said := ""
		for said == "" {
			var frame []byte
			if err := websocket.Message.Receive(ws, &frame); err != nil {
				t.Fatalf("%s: %v", protocol, err)
			}
			if frame[0] == 3 /* the error's channel */ {
				said = string(frame[1:])
			}
		}
		if !strings.Contains(said, "exit code 7") && !strings.Contains(said, "container is gone") {
			t.Errorf("%s: it said %s", protocol, said)
		}
		for i := range 1024 {
			if _, err := ws.Write(make([]byte, 32<<10)); err != nil {
				t.Fatalf("%s: write %d after the end: %v", protocol, i, err)
			}
		}
		_ = ws.Close()
	}
}
