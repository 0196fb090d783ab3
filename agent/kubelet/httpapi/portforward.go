package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// Ports are forwarded over SPDY by pairs of streams, one for the bytes and one for an error, which belong together by a request's
// number. The streaming library starts to forward before the client was told that its streams are accepted, and resets both after
// an error: a client whose port refuses at once hears that its stream was reset and nothing else. Here a pair begins when both
// replies are sent, and an error is written and its stream ended before the data stream is reset.

// maxForwards bounds the pairs of one connection that are open at a time, half-made ones too.
const maxForwards = 1024

// serveSPDY forwards the ports that the client asks for, until it is gone.
func (f forwarder) serveSPDY(w http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, w, portforward.SupportedProtocols); err != nil {
		return // the answer was given
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	forwards := &forwards{ctx: ctx, pairs: map[string]*pair{}, forward: func(port int32, data httpstream.Stream) error {
		if err := f.PortForward(ctx, "", "", port, data); err != nil {
			return fmt.Errorf("error forwarding port %d to pod %s, uid %s: %w", port, f.pod.Name, f.pod.UID, err)
		}
		return nil
	}}
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, forwards.received)
	if conn == nil {
		return // the answer was given
	}
	defer conn.Close()
	conn.SetIdleTimeout(idleTimeout)
	forwards.of(conn)
	<-conn.CloseChan()
}

// forwards are the pairs of one connection.
type forwards struct {
	forward func(port int32, data httpstream.Stream) error
	ctx     context.Context // the connection's

	mu            sync.Mutex
	pairs         map[string]*pair
	forgetStreams func(...httpstream.Stream) // of the connection
}

// pair is one forwarded connection, complete when both of its streams are there and the client knows so.
type pair struct {
	data, errors httpstream.Stream
	unsaid       int // streams that wait for the client to be told
	expire       *time.Timer
}

// of says whose streams these are.
func (f *forwards) of(conn httpstream.Connection) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetStreams = conn.RemoveStreams
}

// received takes a new stream of the client; an error refuses it. replySent is closed when the client was told.
func (f *forwards) received(stream httpstream.Stream, replySent <-chan struct{}) error {
	port, err := strconv.ParseUint(stream.Headers().Get(portforward.PortHeader), 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("%q is not a port", stream.Headers().Get(portforward.PortHeader))
	}
	id, err := requestID(stream)
	if err != nil {
		return err
	}
	p, err := f.add(id, stream)
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-replySent:
		case <-f.ctx.Done():
			return
		}
		if f.said(id, p) {
			err := f.forward(int32(port), p.data) //nolint:gosec // 16 bits
			f.remove(id)
			f.end(p.data, p.errors, err)
		}
	}()
	return nil
}

// requestID names the pair of a stream. Clients of before Kubernetes 1.3 send none: they make the error's stream, then the data's.
func requestID(stream httpstream.Stream) (string, error) {
	kind, id := stream.Headers().Get(portforward.StreamType), stream.Headers().Get(portforward.PortForwardRequestIDHeader)
	switch {
	case kind != portforward.StreamTypeData && kind != portforward.StreamTypeError:
		return "", fmt.Errorf("%q is not a type of stream", kind)
	case id != "":
		return id, nil
	case kind == portforward.StreamTypeError:
		return "stream " + strconv.FormatUint(uint64(stream.Identifier()), 10), nil
	}
	return "stream " + strconv.FormatUint(uint64(stream.Identifier())-2, 10), nil
}

// add puts a stream into its pair. The other one has to follow in time.
func (f *forwards) add(id string, stream httpstream.Stream) (*pair, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.pairs[id]
	if p == nil {
		if len(f.pairs) >= maxForwards {
			return nil, fmt.Errorf("more than %d forwarded connections at a time", maxForwards)
		}
		p = &pair{}
		p.expire = time.AfterFunc(creationTimeout, func() { f.expired(id, p) })
		f.pairs[id] = p
	}
	mine := &p.data
	if stream.Headers().Get(portforward.StreamType) == portforward.StreamTypeError {
		mine = &p.errors
	}
	if *mine != nil {
		return nil, errors.New("request " + id + " has such a stream already")
	}
	*mine, p.unsaid = stream, p.unsaid+1
	return p, nil
}

// said notes that the client knows of one more stream of a pair, and tells whether the pair can begin.
func (f *forwards) said(id string, p *pair) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.unsaid--
	return f.pairs[id] == p && p.unsaid == 0 && p.data != nil && p.errors != nil && p.expire.Stop()
}

// expired ends a pair whose other stream did not come.
func (f *forwards) expired(id string, p *pair) {
	f.remove(id)
	f.mu.Lock()
	data, failed := p.data, p.errors
	f.mu.Unlock()
	f.end(data, failed, fmt.Errorf("request %s: the second stream did not come within %v", id, creationTimeout))
}

func (f *forwards) remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pairs, id)
}

// end writes the error first, and its end; only then the data's stream may be reset, at which a client stops to look. Either
// stream may be nil.
func (f *forwards) end(data, failed httpstream.Stream, err error) {
	if failed != nil {
		if err != nil {
			_, _ = failed.Write([]byte(err.Error()))
		}
		_ = failed.Close()
		_ = failed.Reset() // sends nothing any more: lets go of what the client might still write
	}
	if data != nil {
		if err == nil {
			_ = data.Close()
		}
		_ = data.Reset()
	}
	f.mu.Lock()
	forget := f.forgetStreams
	f.mu.Unlock()
	if forget != nil {
		forget(data, failed)
	}
}
