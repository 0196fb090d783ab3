package apiserver

import (
	"io"
	"net/http"

	"github.com/klauspost/compress/gzip"

	"codeberg.org/skiff/skiff/server/apiserver/codec"
	"codeberg.org/skiff/skiff/server/apiserver/negotiate"
)

// sendList encodes a list; a long one leaves in pieces, compressed if the client reads that, while the rest is encoded.
func (q *request) sendList(l *codec.List) error {
	q.auditList(l)
	buf := getBuffer()
	defer func() { putBuffer(buf) }()
	var s *sender // set with the first piece
	defer func() {
		if s != nil {
			_ = s.close(false) // encoding may panic
		}
	}()
	l.Flush = func(piece []byte) ([]byte, error) {
		if s == nil {
			s = q.newSender()
		}
		return s.send(piece)
	}
	if q.pretty() {
		l.Flush = nil // only a whole document can be indented
	}
	body, err := codec.AppendList(*buf, q.format(), l)
	if s == nil {
		if err != nil {
			return err
		}
		*buf = body
		return q.w.send(q.r, http.StatusOK, q.contentType(), q.prettied(body))
	}
	if err == nil {
		_, err = s.send(body)
	}
	if failed := s.close(err == nil); err == nil {
		err = failed
	}
	if err != nil {
		if q.r.Context().Err() == nil {
			q.cfg.Log.Debug("list broke off", "kind", l.GVK.Kind, "error", err)
		}
		panic(http.ErrAbortHandler) // the client must not take it for complete
	}
	return nil
}

// sender writes the pieces of a body in a goroutine of its own, one while the next is made. At most two pieces are in
// memory.
type sender struct {
	q      *request
	to     io.Writer
	pieces chan []byte
	free   chan []byte
	ended  chan struct{}
	err    error // valid once ended is closed
	closed bool
}

func (q *request) newSender() *sender {
	h := q.w.Header()
	h["Content-Type"], h["Vary"] = []string{q.contentType()}, []string{"Accept-Encoding"}
	s := &sender{q: q, to: q.w, pieces: make(chan []byte), free: make(chan []byte, 2), ended: make(chan struct{})}
	if negotiate.Gzip(q.r) {
		h["Content-Encoding"] = []string{"gzip"}
		z := gzips.Get().(*gzip.Writer)
		z.Reset(q.w)
		s.to = z
	}
	q.w.WriteHeader(http.StatusOK)
	s.free <- nil
	go s.run()
	return s
}

func (s *sender) run() {
	defer close(s.ended)
	for piece := range s.pieces {
		if !s.q.w.head {
			if _, s.err = s.to.Write(piece); s.err != nil {
				return
			}
		}
		s.free <- piece[:0]
	}
}

// send hands a piece over and returns an empty buffer for the next one.
func (s *sender) send(piece []byte) ([]byte, error) {
	select {
	case s.pieces <- piece:
	case <-s.ended:
		return nil, s.err
	}
	select {
	case next := <-s.free:
		if next == nil {
			next = make([]byte, 0, cap(piece))
		}
		return next, nil
	case <-s.ended:
		return nil, s.err
	}
}

// close waits until everything is written. whole ends a compressed body properly. Later calls do nothing.
func (s *sender) close(whole bool) error {
	if s.closed {
		return s.err
	}
	s.closed = true
	close(s.pieces)
	<-s.ended
	if z, ok := s.to.(*gzip.Writer); ok {
		if whole && s.err == nil && !s.q.w.head {
			s.err = z.Close()
		}
		gzips.Put(z)
	}
	return s.err
}
