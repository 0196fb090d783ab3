package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is a log that rotates: audit.log, and older ones audit-<time>.log beside it. Its writer calls it one at a time.
type file struct {
	path             string
	limit            int64
	maxAge, maxCount int
	now              func() time.Time

	f    *os.File
	size int64
	std  bool
	buf  []byte
}

func openFile(path string, limit int64, maxAge, maxCount int, now func() time.Time) (*file, error) {
	l := &file{path: path, limit: limit, maxAge: maxAge, maxCount: maxCount, now: now, std: path == "-"}
	if l.std {
		l.f = os.Stdout
		return l, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return l, l.open()
}

// open opens the log for appending, and ends a line that a power cut left without an end.
func (l *file) open() error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.f, l.size = f, info.Size()
	if !info.Mode().IsRegular() {
		l.std, l.size = true, 0 // a pipe or a device does not rotate
		return nil
	}
	return l.endLine()
}

// endLine writes a line end if the file does not end with one.
func (l *file) endLine() error {
	if l.size == 0 {
		return nil
	}
	var last [1]byte
	if _, err := l.f.ReadAt(last[:], l.size-1); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("audit log: %w", err)
	}
	if last[0] == '\n' {
		return nil
	}
	n, err := l.f.WriteString("\n")
	l.size += int64(n)
	return err
}

// pieces: as many lines as fit go out in one write.
const piece = 256 << 10

func (l *file) write(_ context.Context, events [][]byte) error {
	for len(events) > 0 {
		l.buf = l.buf[:0]
		for len(events) > 0 && (len(l.buf) == 0 || len(l.buf)+len(events[0]) < piece) {
			l.buf = append(append(l.buf, events[0]...), '\n')
			events = events[1:]
		}
		if err := l.writePiece(); err != nil {
			return err
		}
		if cap(l.buf) > 2*piece {
			l.buf = nil
		}
	}
	return nil
}

func (l *file) writePiece() error {
	if l.f == nil { // it could not be opened after a rotation
		if err := l.open(); err != nil {
			return err
		}
	}
	if !l.std && l.size > 0 && l.size+int64(len(l.buf)) > l.limit {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.f.Write(l.buf)
	l.size += int64(n)
	if err != nil && n > 0 && !l.std {
		// A full disk took a part of a line: take it away, so that what is there is whole lines.
		if l.f.Truncate(l.size-int64(n)) == nil {
			l.size -= int64(n)
		}
	}
	return err
}

// stampFormat of old logs: sorts by time, and is what others use too.
const stampFormat = "2006-01-02T15-04-05.000"

func (l *file) rotate() error {
	ext := filepath.Ext(l.path)
	old := strings.TrimSuffix(l.path, ext) + "-" + l.now().UTC().Format(stampFormat) + ext
	err := errors.Join(l.f.Close(), os.Rename(l.path, old))
	l.f = nil
	if err != nil {
		return fmt.Errorf("rotate the audit log: %w", err)
	}
	if err := l.open(); err != nil {
		return err
	}
	return l.clean()
}

// clean removes old logs that are too many or too old.
func (l *file) clean() error {
	ext := filepath.Ext(l.path)
	prefix := strings.TrimSuffix(filepath.Base(l.path), ext) + "-"
	entries, err := os.ReadDir(filepath.Dir(l.path))
	if err != nil {
		return err
	}
	type backup struct {
		name string
		at   time.Time
	}
	var backups []backup
	for _, e := range entries {
		text, ours := strings.CutPrefix(e.Name(), prefix)
		text, whole := strings.CutSuffix(text, ext)
		if !ours || !whole {
			continue
		}
		if at, err := time.Parse(stampFormat, text); err == nil {
			backups = append(backups, backup{e.Name(), at})
		}
	}
	slices.SortFunc(backups, func(a, b backup) int { return b.at.Compare(a.at) })
	var problems []error
	for i, b := range backups {
		if l.maxCount > 0 && i >= l.maxCount || l.maxAge > 0 && l.now().Sub(b.at) > time.Duration(l.maxAge)*24*time.Hour {
			problems = append(problems, os.Remove(filepath.Join(filepath.Dir(l.path), b.name)))
		}
	}
	return errors.Join(problems...)
}

func (l *file) close() error {
	if l.f == nil || l.f == os.Stdout {
		return nil
	}
	return l.f.Close()
}
