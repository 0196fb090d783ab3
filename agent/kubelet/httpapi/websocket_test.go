package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"codeberg.org/skiff/skiff/agent/kubelet/httpapi"
	"codeberg.org/skiff/skiff/runtime/container"
)

// node has one pod, whose commands are Go functions and whose port 80 is address.
type node struct {
	httpapi.Node
	run     func(container.ExecSpec) (int, error)
	attach  func(container.AttachSpec) error
	address string
}

func (n *node) Pod(ns, name string, _ types.UID) (*corev1.Pod, bool) {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}, true
}
func (n *node) ContainerID(*corev1.Pod, string) (string, error) { return "id", nil }
func (n *node) Exec(_ context.Context, _ string, spec container.ExecSpec) (int, error) {
	return n.run(spec)
}
func (n *node) Attach(_ context.Context, _ string, spec container.AttachSpec) error {
	return n.attach(spec)
}
func (n *node) Dial(_ context.Context, _ *corev1.Pod, port int32) (net.Conn, error) {
	if port != 80 {
		return nil, fmt.Errorf("connection refused")
	}
	return net.Dial("tcp", n.address)
}

type everybody struct{}

func (everybody) Authorize(*http.Request, httpapi.Attributes) error { return nil }

func serve(t *testing.T, n *node) string {
	server := httptest.NewServer(httpapi.New(httpapi.Config{Node: n, Authorizer: everybody{}, Log: slog.New(slog.DiscardHandler)}))
	t.Cleanup(server.Close)
	return server.URL
}

// stream runs client-go's websocket executor, which offers v5 only.
func stream(t *testing.T, address string, opts remotecommand.StreamOptions) error {
	t.Helper()
	exec, err := remotecommand.NewWebSocketExecutor(&rest.Config{Host: address}, http.MethodGet, address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return exec.StreamWithContext(ctx, opts)
}

func TestExecOverWebSocket(t *testing.T) {
	n := &node{}
	base := serve(t, n)
	exec := base + "/exec/ns/pod/main?command=x&input=1&output=1&error=1"

	n.run = func(spec container.ExecSpec) (int, error) { // as cat does: until stdin ends
		if _, err := io.Copy(spec.Stdout, spec.Stdin); err != nil {
			return 0, err
		}
		_, err := io.WriteString(spec.Stderr, "done")
		return 7, err
	}
	var out, errout bytes.Buffer
	in := strings.Repeat("0123456789", 100_000)
	err := stream(t, exec, remotecommand.StreamOptions{Stdin: strings.NewReader(in), Stdout: &out, Stderr: &errout})
	var exit utilexec.CodeExitError
	if !errors.As(err, &exit) || exit.Code != 7 {
		t.Errorf("exit code 7: %v", err)
	}
	if out.String() != in || errout.String() != "done" {
		t.Errorf("%d bytes of %d came back, stderr %q", out.Len(), len(in), errout.String())
	}

	n.run = func(container.ExecSpec) (int, error) { return 0, errors.New("no such file") }
	err = stream(t, exec, remotecommand.StreamOptions{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errout})
	if err == nil || err.Error() != "Internal error occurred: error executing command in container: no such file" {
		t.Errorf("a command that cannot run: %v", err)
	}

	n.run = func(spec container.ExecSpec) (int, error) {
		size := <-spec.Resize
		_, err := fmt.Fprintf(spec.Stdout, "%dx%d stdin %v", size.Width, size.Height, spec.Stdin != nil)
		return 0, err
	}
	out.Reset()
	err = stream(t, base+"/exec/ns/pod/main?command=x&output=1&tty=1", remotecommand.StreamOptions{Stdout: &out, Tty: true, TerminalSizeQueue: &sizeQueue{}})
	if err != nil || out.String() != "80x24 stdin false" {
		t.Errorf("terminal: %q %v", out.String(), err)
	}
}

type sizeQueue struct{ asked bool }

func (q *sizeQueue) Next() *remotecommand.TerminalSize {
	if q.asked {
		return nil
	}
	q.asked = true
	return &remotecommand.TerminalSize{Width: 80, Height: 24}
}

func TestAttachOverWebSocket(t *testing.T) {
	n := &node{attach: func(spec container.AttachSpec) error {
		_, err := io.Copy(spec.Stdout, spec.Stdin)
		return err
	}}
	var out bytes.Buffer
	err := stream(t, serve(t, n)+"/attach/ns/pod/main?input=1&output=1", remotecommand.StreamOptions{Stdin: strings.NewReader("typed"), Stdout: &out})
	if err != nil || out.String() != "typed" {
		t.Errorf("%q %v", out.String(), err)
	}
}

func TestPortForwardInsideWebSocket(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	t.Cleanup(backend.Close)
	base := serve(t, &node{address: backend.Listener.Addr().String()})
	to, err := url.Parse(base + "/portForward/ns/pod")
	if err != nil {
		t.Fatal(err)
	}
	dialer, err := portforward.NewSPDYOverWebsocketDialer(to, &rest.Config{Host: base})
	if err != nil {
		t.Fatal(err)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	forward, err := portforward.New(dialer, []string{"0:80"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forward.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	ports, err := forward.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("x", 1<<20)
	for range 3 {
		resp, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d", ports[0].Local), "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		back, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(back) != body {
			t.Errorf("%d bytes came back: %v", len(back), err)
		}
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
