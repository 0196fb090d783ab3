package audit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// errFull: the queue of a sink has no room.
var errFull = errors.New("the queue of audit events is full")

// writer is a sink in front of something that takes several events at once.
type writer struct {
	write func(ctx context.Context, events [][]byte) error
	close func() error
	name  string
	batch bool
	limit int
	// wait collects events before they are written; 0 writes at once.
	wait   time.Duration
	failed prometheus.Counter
	log    *slog.Logger

	mu     sync.Mutex
	queue  [][]byte
	bytes  int
	told   time.Time // when the log last heard of losses
	lost   int
	wake   chan struct{}
	direct sync.Mutex // one write at a time in the blocking modes
}

func newSink(write func(context.Context, [][]byte) error, close func() error, name string, batch bool, limit int, wait time.Duration,
	failed *prometheus.CounterVec, log *slog.Logger) *writer {
	return &writer{write: write, close: close, name: name, batch: batch, limit: limit, wait: wait, failed: failed.WithLabelValues(name), log: log,
		wake: make(chan struct{}, 1)}
}

func (w *writer) put(event []byte) error {
	if !w.batch {
		w.direct.Lock()
		defer w.direct.Unlock()
		err := w.write(context.Background(), [][]byte{event})
		if err != nil {
			w.lose(1, err)
		}
		return err
	}
	w.mu.Lock()
	if w.bytes+len(event) > w.limit {
		w.mu.Unlock()
		w.lose(1, errFull)
		return errFull
	}
	w.queue = append(w.queue, event)
	w.bytes += len(event)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

// lose counts lost events, and says so in the log, at most once a minute.
func (w *writer) lose(n int, why error) {
	w.failed.Add(float64(n))
	w.mu.Lock()
	w.lost += n
	tell := time.Since(w.told) > time.Minute
	lost := w.lost
	if tell {
		w.told, w.lost = time.Now(), 0
	}
	w.mu.Unlock()
	if tell {
		w.log.Error("audit events were lost", "sink", w.name, "events", lost, "error", why)
	}
}

// take returns what is queued. Its bytes count until done is called, so that what is being written is bounded too.
func (w *writer) take() (events [][]byte, done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	events, size := w.queue, w.bytes
	w.queue = nil
	return events, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.bytes -= size
	}
}

// lastWords is how long a sink may take to write what is left when the server ends, also what it is writing just then.
const lastWords = 3 * time.Second

func (w *writer) run(ctx context.Context) error {
	writing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastWords, cancel) })()
	for {
		select {
		case <-ctx.Done():
			w.flush(writing)
			return w.close()
		case <-w.wake:
			if w.wait > 0 {
				select {
				case <-time.After(w.wait):
				case <-ctx.Done():
				}
			}
			w.flush(writing)
		}
	}
}

func (w *writer) flush(ctx context.Context) {
	events, done := w.take()
	defer done()
	if len(events) == 0 {
		return
	}
	w.direct.Lock()
	defer w.direct.Unlock()
	if err := w.write(ctx, events); err != nil {
		w.lose(len(events), err)
	}
}
