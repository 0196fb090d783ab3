package logs

import (
	"errors"
	"io"
)

// errLimit ends reading when LimitBytes have been written.
var errLimit = errors.New("limit reached")

// writer passes entries on as the reader of the log wants them.
type writer struct {
	o              Options
	stdout, stderr io.Writer
	left           int64 // bytes, if limited
	open           [2]bool
	buf            []byte
}

func newWriter(o Options, stdout, stderr io.Writer) *writer {
	return &writer{o: o, stdout: stdout, stderr: stderr, left: o.LimitBytes}
}

func (w *writer) write(e Entry) error {
	to, n := w.stdout, 0
	if e.Stderr {
		to, n = w.stderr, 1
	}
	if to == nil || e.Time.Before(w.o.Since) {
		return nil
	}
	w.buf = w.buf[:0]
	if w.o.Timestamps && !w.open[n] { // once a line, however many parts it has
		w.buf = append(append(w.buf, e.Stamp...), ' ')
	}
	w.buf = append(w.buf, e.Content...)
	if !e.Partial {
		w.buf = append(w.buf, '\n')
	}
	w.open[n] = e.Partial
	limited := w.o.LimitBytes > 0 && int64(len(w.buf)) >= w.left
	if limited {
		w.buf = w.buf[:w.left]
	}
	if _, err := to.Write(w.buf); err != nil {
		return err
	}
	w.left -= int64(len(w.buf))
	if limited {
		return errLimit
	}
	return nil
}
