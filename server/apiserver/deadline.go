package apiserver

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Deadlines of clients that do not do their part. A request that is not a stream ends with its deadline, also when its
// client sends its body drop by drop or does not read the answer; a watch whose client does not read is cut.
//
// A ResponseWriter must not be touched once its handler has returned (that of HTTP/2 is used for the next request then),
// so a timer acts only under a lock that whoever ends the handler takes too.

// lastWords is how long a request whose time is over may take to say so.
const lastWords = 2 * time.Second

// expire makes reading the body and writing the answer fail once ctx is over. The function it returns ends that; it has
// to be called before the handler returns.
func expire(ctx context.Context, w http.ResponseWriter) (stop func()) {
	e := &expiry{ctx: ctx, w: w}
	cancel := context.AfterFunc(ctx, e.act)
	return func() {
		if cancel() {
			return // the usual case: it will not act any more
		}
		e.end()
	}
}

type expiry struct {
	ctx context.Context
	w   http.ResponseWriter

	mu           sync.Mutex
	acted, ended bool
}

func (e *expiry) act() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended || e.ctx.Err() != context.DeadlineExceeded {
		return
	}
	e.acted = true
	c := http.NewResponseController(e.w)
	_ = c.SetReadDeadline(time.Now())
	_ = c.SetWriteDeadline(time.Now().Add(lastWords))
}

func (e *expiry) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	if e.acted { // the connection may go on with another request
		_ = http.NewResponseController(e.w).SetWriteDeadline(time.Time{})
	}
}

// sendGuard cuts a stream whose client does not read. It costs a timer a stream, not a deadline a message.
type sendGuard struct {
	w     http.ResponseWriter
	limit time.Duration
	timer *time.Timer

	mu      sync.Mutex
	sending bool
}

func newSendGuard(w http.ResponseWriter, limit time.Duration) *sendGuard {
	g := &sendGuard{w: w, limit: limit}
	g.timer = time.AfterFunc(limit, g.cut)
	g.timer.Stop()
	return g
}

func (g *sendGuard) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sending {
		_ = http.NewResponseController(g.w).SetWriteDeadline(time.Now())
	}
}

func (g *sendGuard) set(sending bool) {
	g.mu.Lock()
	g.sending = sending
	g.mu.Unlock()
}

// during calls send, which fails when it takes longer than the limit.
func (g *sendGuard) during(send func() error) error {
	g.set(true)
	g.timer.Reset(g.limit)
	defer func() {
		g.timer.Stop()
		g.set(false)
	}()
	return send()
}
