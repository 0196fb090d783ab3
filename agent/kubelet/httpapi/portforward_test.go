package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/streaming/pkg/httpstream"
)

// fakeStream notes what is done to it, in the order of all of a test's streams.
type fakeStream struct {
	kind  string
	id    uint32
	notes *notes
}

type notes struct {
	mu   sync.Mutex
	list []string
}

func (n *notes) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, s)
}

func (n *notes) have() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string{}, n.list...)
}

func (s *fakeStream) Read([]byte) (int, error) { return 0, io.EOF }
func (s *fakeStream) Write(p []byte) (int, error) {
	s.notes.add(s.kind + " says " + string(p))
	return len(p), nil
}
func (s *fakeStream) Close() error       { s.notes.add(s.kind + " ends"); return nil }
func (s *fakeStream) Reset() error       { s.notes.add(s.kind + " reset"); return nil }
func (s *fakeStream) Identifier() uint32 { return s.id }
func (s *fakeStream) Headers() http.Header {
	h := http.Header{}
	h.Set(portforward.PortHeader, "80")
	h.Set(portforward.StreamType, s.kind)
	h.Set(portforward.PortForwardRequestIDHeader, "0")
	return h
}

func newForwards(ctx context.Context, n *notes, err error) *forwards {
	return &forwards{ctx: ctx, pairs: map[string]*pair{}, forward: func(int32, httpstream.Stream) error {
		n.add("forward")
		return err
	}}
}

// TestForwardWaitsForReplies: a stream may not be reset before its client was told that it is accepted, since it would take the reset
// for the answer; and an error and its end are on their way before the data's stream is reset.
func TestForwardWaitsForReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notes{}
		f := newForwards(t.Context(), n, errors.New("connection refused"))
		saidErrors, saidData := make(chan struct{}), make(chan struct{})
		for _, s := range []struct {
			stream *fakeStream
			said   chan struct{}
		}{{&fakeStream{"error", 1, n}, saidErrors}, {&fakeStream{"data", 3, n}, saidData}} {
			if err := f.received(s.stream, s.said); err != nil {
				t.Fatal(err)
			}
		}
		close(saidErrors)
		synctest.Wait()
		if have := n.have(); len(have) != 0 {
			t.Errorf("before the client knows of its data stream: %q", have)
		}
		close(saidData)
		synctest.Wait()
		want := []string{"forward", "error says connection refused", "error ends", "error reset", "data reset"}
		if have := n.have(); !reflect.DeepEqual(have, want) {
			t.Errorf("have %q\nwant %q", have, want)
		}
		if len(f.pairs) != 0 {
			t.Errorf("%d pairs are left", len(f.pairs))
		}
	})
}

// TestForwardNeedsBothStreams: the one that came hears so when the other one does not come, and nothing is forwarded.
func TestForwardNeedsBothStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, said := &notes{}, make(chan struct{})
		close(said)
		f := newForwards(t.Context(), n, nil)
		if err := f.received(&fakeStream{"error", 1, n}, said); err != nil {
			t.Fatal(err)
		}
		if err := f.received(&fakeStream{"error", 3, n}, said); err == nil {
			t.Error("a second error stream of one request was accepted")
		}
		time.Sleep(2 * creationTimeout) // of the fake clock
		synctest.Wait()
		want := []string{"error says request 0: the second stream did not come within 30s", "error ends", "error reset"}
		if have := n.have(); !reflect.DeepEqual(have, want) {
			t.Errorf("have %q\nwant %q", have, want)
		}
	})
}
