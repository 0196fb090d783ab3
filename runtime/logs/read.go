package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Options of [Read].
type Options struct {
	// Follow goes on with what is written later, until Done is closed (the container has exited) and all is read, or ctx ends.
	Follow bool
	Done   <-chan struct{}
	// Tail is the number of lines from the end to begin with; negative: all.
	Tail int64
	// Since passes over what is older.
	Since time.Time
	// Timestamps puts the time before each line.
	Timestamps bool
	// LimitBytes ends reading after so many bytes; 0: no limit.
	LimitBytes int64
}

// lineMax is longer than any line that a keeper writes; longer ones are passed over.
const lineMax = 128 * 1024

// Read writes the log at path to stdout and stderr; one that is nil is left out. A log that is not there yet is empty, or
// waited for when following. It returns nil when everything asked for has been written, and ctx's error if that ended.
func Read(ctx context.Context, path string, o Options, stdout, stderr io.Writer) error {
	r := &reader{ctx: ctx, path: path, w: newWriter(o, stdout, stderr), in: bufio.NewReaderSize(nil, lineMax)}
	defer r.close()
	if o.Follow {
		w, err := newWatch(path)
		if err != nil {
			return fmt.Errorf("follow log %s: %w", path, err)
		}
		defer w.close()
		r.watch = w
	}
	err := r.begin(o.Tail)
	if err == nil {
		err = r.run(o)
	}
	switch {
	case errors.Is(err, errLimit):
		return nil
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("read log %s: %w", path, err)
	}
	return err
}

type reader struct {
	ctx   context.Context
	path  string
	file  *os.File // nil while there is none
	in    *bufio.Reader
	rest  []byte // an unfinished line at the end of the file, when following
	skip  bool   // the rest of a line that is too long
	w     *writer
	watch *watch
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// use goes on with this file at its current offset.
func (r *reader) use(f *os.File) {
	r.close()
	r.file, r.rest, r.skip = f, nil, false
	r.in.Reset(f)
}

func (r *reader) run(o Options) error {
	for {
		if err := r.drain(); err != nil {
			return err
		}
		moved, err := r.next()
		if err != nil {
			return err
		}
		if moved {
			continue
		}
		if !o.Follow {
			return r.last()
		}
		select {
		case <-o.Done:
			// Everything is in the files now; read what came between the end of drain and Done.
			o.Follow = false
			continue
		default:
		}
		if err := r.watch.wait(r.ctx, o.Done); err != nil {
			return err
		}
	}
}

// drain reads the file to its end.
func (r *reader) drain() error {
	for r.file != nil {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		part, err := r.in.ReadSlice('\n')
		switch {
		case err == nil && r.skip:
			r.skip = false
		case err == nil:
			line := part
			if len(r.rest) > 0 {
				line = append(r.rest, part...)
			}
			if werr := r.entry(line); werr != nil {
				return werr
			}
			r.rest = r.rest[:0]
		case errors.Is(err, bufio.ErrBufferFull):
			r.skip, r.rest = true, r.rest[:0]
		case errors.Is(err, io.EOF):
			if r.rest = append(r.rest, part...); len(r.rest) > lineMax {
				r.skip, r.rest = true, r.rest[:0]
			}
			return nil
		default:
			return err
		}
	}
	return nil
}

func (r *reader) entry(line []byte) error {
	e, err := Parse(line)
	if err != nil {
		return nil
	}
	return r.w.write(e)
}

// last handles a last line without newline: a writer that was cut off.
func (r *reader) last() error {
	if len(r.rest) == 0 || r.skip {
		return nil
	}
	return r.entry(r.rest)
}

// next goes on to the file that follows the current one, if the log was rotated.
func (r *reader) next() (moved bool, err error) {
	if r.file == nil {
		err := r.begin(-1) // there was nothing before: all that is there now is to be read
		return r.file != nil, err
	}
	now, err := open(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // just being rotated
	}
	if err != nil {
		return false, err
	}
	if same(now, r.file) {
		now.Close()
		return r.truncated()
	}
	// The writer has made a new file, so it has done with the old one: its rest first.
	if err := r.drain(); err != nil {
		now.Close()
		return false, err
	}
	following := now
	for f := range older(r.path) {
		if same(f, r.file) {
			f.Close()
			break
		}
		following.Close()
		following = f
	}
	r.use(following)
	return true, nil
}

// truncated starts anew in a file that someone has emptied.
func (r *reader) truncated() (bool, error) {
	fi, err := r.file.Stat()
	if err != nil {
		return false, err
	}
	at, err := r.file.Seek(0, io.SeekCurrent)
	if err != nil || fi.Size() >= at {
		return false, err
	}
	if _, err = r.file.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	r.in.Reset(r.file)
	r.rest, r.skip = nil, false
	return true, nil
}

func same(a, b *os.File) bool {
	x, err1 := a.Stat()
	y, err2 := b.Stat()
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}
