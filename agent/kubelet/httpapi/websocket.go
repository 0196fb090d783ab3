package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/websocket"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
	utilexec "k8s.io/utils/exec"
)

// The streaming library speaks SPDY, and over a websocket only what cannot end one stream of several. What kubectl asks
// for first is here: v5 of the channels, in which the client can end stdin, and SPDY inside a websocket for forwarded ports.

// channels of v5, each a stream: their numbers are stdin, stdout, stderr, error and resize.
type channels struct {
	conn        *wsstream.Conn
	in          io.Reader
	out, errout io.WriteCloser
	resize      io.Reader
	status      io.Writer
}

// openV5 answers the upgrade; nil when it could not.
func (s *Server) openV5(w http.ResponseWriter, r *http.Request, opts *remotecommand.Options) *channels {
	kind := func(wanted bool, k wsstream.ChannelType) wsstream.ChannelType {
		if wanted {
			return k
		}
		return wsstream.IgnoreChannel
	}
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{remotecommand.StreamProtocolV5Name: {Binary: true, Channels: []wsstream.ChannelType{
		remotecommand.StreamStdIn:  kind(opts.Stdin, wsstream.ReadChannel),
		remotecommand.StreamStdOut: kind(opts.Stdout, wsstream.WriteChannel),
		remotecommand.StreamStdErr: kind(opts.Stderr, wsstream.WriteChannel),
		remotecommand.StreamErr:    wsstream.WriteChannel,
		remotecommand.StreamResize: wsstream.ReadChannel,
	}}})
	conn.SetIdleTimeout(idleTimeout)
	_, streams, err := conn.Open(w, r)
	if err != nil {
		s.cfg.Log.Debug("websocket", "path", r.URL.Path, "err", err)
		return nil
	}
	c := &channels{conn: conn, resize: streams[remotecommand.StreamResize], status: streams[remotecommand.StreamErr]}
	if opts.Stdin {
		c.in = streams[remotecommand.StreamStdIn]
	}
	if opts.Stdout {
		c.out = streams[remotecommand.StreamStdOut]
	}
	if opts.Stderr {
		c.errout = streams[remotecommand.StreamStdErr]
	}
	return c
}

// serveV5 runs what belongs to the channels and tells the client how it ended.
func (s *Server) serveV5(w http.ResponseWriter, r *http.Request, opts *remotecommand.Options, doing string, run func(context.Context, *channels, <-chan remotecommand.TerminalSize) error) {
	c := s.openV5(w, r, opts)
	if c == nil {
		return
	}
	defer c.conn.Close()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	resize := make(chan remotecommand.TerminalSize)
	go func() { // ends with the connection
		defer close(resize)
		for d := json.NewDecoder(c.resize); ; {
			var size remotecommand.TerminalSize
			if d.Decode(&size) != nil {
				return
			}
			select {
			case resize <- size:
			case <-ctx.Done():
				return
			}
		}
	}()
	end, err := json.Marshal(ending(doing, run(ctx, c, resize)))
	if err == nil {
		_, err = c.status.Write(end)
	}
	if err != nil {
		s.cfg.Log.Debug("the client is gone before its command", "path", r.URL.Path, "err", err)
	}
}

// ending is what the error stream says, in the form that clients know since v4.
func ending(doing string, err error) metav1.Status {
	var exit utilexec.ExitError
	switch {
	case err == nil:
		return metav1.Status{Status: metav1.StatusSuccess}
	case errors.As(err, &exit) && exit.Exited():
		return metav1.Status{Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason,
			Message: fmt.Sprintf("command terminated with non-zero exit code: %v", exit),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(exit.ExitStatus())}}}}
	}
	return apierrors.NewInternalError(fmt.Errorf("error %s: %w", doing, err)).ErrStatus
}

// tunnelled serves SPDY whose bytes are the messages of a websocket. The websocket's subprotocol names SPDY's.
func tunnelled(w http.ResponseWriter, r *http.Request, supported []string, serve http.HandlerFunc) {
	server := websocket.Server{
		Handshake: func(config *websocket.Config, _ *http.Request) error {
			for _, offered := range config.Protocol {
				for _, protocol := range supported {
					if offered == portforward.WebsocketsSPDYTunnelingPrefix+protocol {
						config.Protocol = []string{offered}
						return nil
					}
				}
			}
			return fmt.Errorf("none of %v is known", config.Protocol)
		},
		Handler: func(ws *websocket.Conn) {
			ws.PayloadType = websocket.BinaryFrame
			inner := r.Clone(r.Context())
			inner.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
			inner.Header.Set(httpstream.HeaderProtocolVersion, strings.TrimPrefix(ws.Config().Protocol[0], portforward.WebsocketsSPDYTunnelingPrefix))
			serve(tunnelWriter{header: http.Header{}, ws: ws}, inner)
		},
	}
	server.ServeHTTP(w, r)
}

// tunnelWriter answers an upgrade that was answered before, and gives the websocket away as the connection.
type tunnelWriter struct {
	header http.Header
	ws     *websocket.Conn
}

func (t tunnelWriter) Header() http.Header         { return t.header }
func (t tunnelWriter) WriteHeader(int)             {}
func (t tunnelWriter) Write(p []byte) (int, error) { return len(p), nil }

func (t tunnelWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return t.ws, bufio.NewReadWriter(bufio.NewReader(t.ws), bufio.NewWriter(t.ws)), nil
}
