package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"

	"codeberg.org/skiff/skiff/internal/linger"
	"codeberg.org/skiff/skiff/runtime/container"
)

const (
	idleTimeout     = 4 * time.Hour
	creationTimeout = 30 * time.Second
)

// target is a container of a request, or nil when the answer was given.
func (s *Server) target(w http.ResponseWriter, r *http.Request) (*corev1.Pod, string, bool) {
	pod := s.pod(w, r)
	if pod == nil {
		return nil, "", false
	}
	id, err := s.cfg.Node.ContainerID(pod, r.PathValue("container"))
	if err != nil {
		fail(w, err)
		return nil, "", false
	}
	return pod, id, true
}

func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	pod, id, ok := s.target(w, r)
	if !ok {
		return
	}
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w = linger.Writer(w)
	command, e := r.URL.Query()["command"], executor{s.cfg.Node}
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		s.serveV5(w, r, opts, "executing command in container", func(ctx context.Context, c *channels, resize <-chan remotecommand.TerminalSize) error {
			return e.ExecInContainer(ctx, "", "", id, command, c.in, c.out, c.errout, opts.TTY, resize, 0)
		})
		return
	}
	remotecommand.ServeExec(w, r, e, pod.Name, string(pod.UID), id, command, opts, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	pod, id, ok := s.target(w, r)
	if !ok {
		return
	}
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w = linger.Writer(w)
	e := executor{s.cfg.Node}
	if wsstream.IsWebSocketRequestWithStreamCloseProtocol(r) {
		s.serveV5(w, r, opts, "attaching to container", func(ctx context.Context, c *channels, resize <-chan remotecommand.TerminalSize) error {
			return e.AttachContainer(ctx, "", "", id, c.in, c.out, c.errout, opts.TTY, resize)
		})
		return
	}
	remotecommand.ServeAttach(w, r, e, pod.Name, string(pod.UID), id, opts, idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

// run executes a command and answers with its output.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	_, id, ok := s.target(w, r)
	if !ok {
		return
	}
	var out bytes.Buffer
	code, err := s.cfg.Node.Exec(r.Context(), id, container.ExecSpec{Args: r.URL.Query()["cmd"], Stdout: &out, Stderr: &out})
	if err == nil && code != 0 {
		err = fmt.Errorf("command terminated with exit code %d", code)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Write(out.Bytes())
}

func (s *Server) portForward(w http.ResponseWriter, r *http.Request) {
	pod := s.pod(w, r)
	if pod == nil {
		return
	}
	w = linger.Writer(w)
	f := forwarder{s.cfg.Node, pod}
	switch {
	case wsstream.IsWebSocketRequestWithTunnelingProtocol(r):
		tunnelled(w, r, portforward.SupportedProtocols, f.serveSPDY)
	case wsstream.IsWebSocketRequest(r):
		opts, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		portforward.ServePortForward(w, r, f, pod.Name, string(pod.UID), opts, idleTimeout, creationTimeout, portforward.SupportedProtocols)
	default:
		f.serveSPDY(w, r)
	}
}

// executor runs commands for the streaming library; the container's name is its ID here.
type executor struct{ node Node }

func (e executor) ExecInContainer(ctx context.Context, _, _, id string, cmd []string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, timeout time.Duration) error {
	spec := container.ExecSpec{Args: cmd, TTY: tty, Stdin: in, Timeout: timeout, Resize: sizes(ctx, resize)}
	if out != nil {
		spec.Stdout = out
	}
	if errw != nil {
		spec.Stderr = errw
	}
	code, err := e.node.Exec(ctx, id, spec)
	if err != nil {
		return err
	}
	if code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("command terminated with exit code %d", code), Code: code}
	}
	return nil
}

func (e executor) AttachContainer(ctx context.Context, _, _, id string, in io.Reader, out, errw io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	spec := container.AttachSpec{Stdin: in, Resize: sizes(ctx, resize)}
	if out != nil {
		spec.Stdout = out
	}
	if errw != nil {
		spec.Stderr = errw
	}
	return e.node.Attach(ctx, id, spec)
}

// sizes passes terminal sizes on until the stream ends.
func sizes(ctx context.Context, in <-chan remotecommand.TerminalSize) <-chan container.Size {
	if in == nil {
		return nil
	}
	out := make(chan container.Size)
	go func() {
		defer close(out)
		for {
			select {
			case s, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- container.Size{Width: s.Width, Height: s.Height}:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// forwarder copies between a stream and a port of the pod.
type forwarder struct {
	node Node
	pod  *corev1.Pod
}

func (f forwarder) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	conn, err := f.node.Dial(ctx, f.pod, port)
	if err != nil {
		return fmt.Errorf("failed to connect to port %d of pod %s: %w", port, f.pod.Name, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // a silent port would hold on to a client that is gone
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(conn, stream)
		if c, ok := conn.(interface{ CloseWrite() error }); ok {
			c.CloseWrite()
		}
	}()
	_, err = io.Copy(stream, conn)
	stream.Close()
	select {
	case <-done:
	case <-ctx.Done():
	case <-time.After(5 * time.Second): // the client keeps its half open
	}
	return err
}
