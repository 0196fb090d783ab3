package apiserver

import (
	"context"
	"net/http"
	"time"
)

// Deadlines of clients that do not do their part. A request that is not a stream ends with its deadline, also when its
// client sends its body drop by drop or does not read the answer; a watch whose client does not read is cut.

// lastWords is how long a request whose time is over may take to say so.
const lastWords = 2 * time.Second

// expire makes reading the body and writing the answer fail once ctx is over. The function it returns ends that.
func expire(ctx context.Context, w http.ResponseWriter) (stop func()) {
	c := http.NewResponseController(w)
	cancel := context.AfterFunc(ctx, func() {
		if ctx.Err() == context.DeadlineExceeded {
			_ = c.SetReadDeadline(time.Now())
			_ = c.SetWriteDeadline(time.Now().Add(lastWords))
		}
	})
	return func() {
		if !cancel() && ctx.Err() == context.DeadlineExceeded {
			_ = c.SetWriteDeadline(time.Time{}) // the connection may go on with another request
		}
	}
}

// sendGuard cuts a stream whose client does not read. It costs a timer a stream, not a deadline a message.
type sendGuard struct {
	timer *time.Timer
	limit time.Duration
}

func newSendGuard(w http.ResponseWriter, limit time.Duration) *sendGuard {
	c := http.NewResponseController(w)
	t := time.AfterFunc(limit, func() { _ = c.SetWriteDeadline(time.Now()) })
	t.Stop()
	return &sendGuard{t, limit}
}

// during calls send, which fails when it takes longer than the limit.
func (g *sendGuard) during(send func() error) error {
	g.timer.Reset(g.limit)
	defer g.timer.Stop()
	return send()
}
