package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var ctx = context.Background()

const base = "2026-01-02T03:04:05.%09dZ"

// line is an entry n nanoseconds after base.
func line(n int, stream, tag, text string) string {
	return fmt.Sprintf(base+" %s %s %s\n", n, stream, tag, text)
}

func write(t testing.TB, path string, lines ...string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, strings.Join(lines, "")); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string, o Options) string {
	t.Helper()
	var out bytes.Buffer
	if err := Read(ctx, path, o, &out, &out); err != nil {
		t.Error(err)
	}
	return out.String()
}

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	write(t, path, line(1, "stdout", "F", "one"), line(2, "stderr", "F", "two"), "rubbish\n", "\n", line(3, "stdout", "P", "thr"),
		line(4, "stderr", "F", "between"), line(5, "stdout", "F", "ee"), line(6, "stdout", "F", ""), line(7, "stdout", "P", "end"))
	all := "one\ntwo\nthrbetween\nee\n\nend"
	since, _ := time.Parse(time.RFC3339Nano, fmt.Sprintf(base, 4))
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"all":        {Options{Tail: -1}, all},
		"tail 0":     {Options{Tail: 0}, ""},
		"tail 1":     {Options{Tail: 1}, "end"},
		"tail 2":     {Options{Tail: 2}, "\nend"},
		"tail 4":     {Options{Tail: 4}, "thrbetween\nee\n\nend"},
		"tail 99":    {Options{Tail: 99}, all},
		"since":      {Options{Tail: -1, Since: since}, "between\nee\n\nend"},
		"limit":      {Options{Tail: -1, LimitBytes: 6}, "one\ntw"},
		"timestamps": {Options{Tail: 1, Timestamps: true}, fmt.Sprintf(base, 7) + " end"},
	} {
		if got := read(t, path, c.o); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	var out, errOut bytes.Buffer
	if err := Read(ctx, path, Options{Tail: -1, Timestamps: true}, &out, &errOut); err != nil {
		t.Error(err)
	}
	stamp := func(n int) string { return fmt.Sprintf(base, n) + " " }
	if want := stamp(1) + "one\n" + stamp(3) + "three\n" + stamp(6) + "\n" + stamp(7) + "end"; out.String() != want {
		t.Errorf("stdout %q, want %q", out.String(), want)
	}
	if want := stamp(2) + "two\n" + stamp(4) + "between\n"; errOut.String() != want {
		t.Errorf("stderr %q", errOut.String())
	}
	if got := read(t, path+".none", Options{Tail: -1}); got != "" {
		t.Errorf("%q", got)
	}
}

// Tail over block boundaries, long lines and rotated files gives the same as the end of everything.
func TestTailIsTheEnd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "0.log")
	var lines []string
	n := 0
	for _, name := range []string{Rotated(path, 2), Rotated(path, 1), path} {
		for i := range 700 {
			n++
			text := fmt.Sprint("line ", n, strings.Repeat("x", i*i%9000))
			lines = append(lines, text+"\n")
			half := len(text) / 2
			if i%7 == 3 {
				write(t, name, line(n, "stdout", "P", text[:half]), line(n, "stdout", "F", text[half:]))
			} else {
				write(t, name, line(n, "stdout", "F", text))
			}
		}
	}
	for _, tail := range []int{1, 2, 3, 10, 50, 99, 500, 699, 700, 701, 1000, 1399, 1400, 1401, 2099, 2100, 3000} {
		want := strings.Join(lines[max(0, len(lines)-tail):], "")
		if got := read(t, path, Options{Tail: int64(tail)}); got != want {
			t.Errorf("tail %d: %d bytes, want %d", tail, len(got), len(want))
		}
	}
	if got := read(t, path, Options{Tail: -1}); got != strings.Join(lines, "") {
		t.Error("all is not all")
	}
}

// syncBuffer can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func TestFollow(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "0.log")
	var out syncBuffer
	done, ended := make(chan struct{}), make(chan error)
	go func() { ended <- Read(ctx, path, Options{Follow: true, Done: done, Tail: -1}, &out, &out) }()
	time.Sleep(10 * time.Millisecond) // before there is a file
	want := ""
	rotate := func() {
		if err := Rotate(path, 0, 5, func() error { write(t, path); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2000 {
		text := fmt.Sprint("line ", i)
		entry := line(i, "stdout", "F", text)
		write(t, path, entry[:10])
		write(t, path, entry[10:])
		want += text + "\n"
		if i%150 == 149 {
			rotate()
			waitFor(t, "caught up", func() bool { return out.String() == want })
		}
		if i%150 == 100 { // twice before the reader may look
			rotate()
		}
	}
	close(done)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if out.String() != want {
		t.Errorf("%d bytes, want %d", len(out.String()), len(want))
	}
}

// A reader that begins in the middle of things, and is always late, loses nothing either.
func TestFollowLate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	o := Options{Follow: true, Tail: -1}
	r := &reader{ctx: ctx, path: path, w: newWriter(o, nil, nil), in: bufio.NewReaderSize(nil, lineMax)}
	var out bytes.Buffer
	r.w.stdout = &out
	defer r.close()
	if err := r.begin(-1); err != nil || r.file != nil {
		t.Fatal(err)
	}
	want := ""
	for i := range 60 {
		write(t, path, line(i, "stdout", "F", fmt.Sprint(i)))
		want += fmt.Sprint(i, "\n")
		if i%3 == 2 {
			if err := Rotate(path, 0, 5, func() error { write(t, path); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if i%9 != 8 {
			continue
		}
		if i%2 == 0 { // in the middle of a rotation: one name is missing
			if err := os.Rename(Rotated(path, 1), path+".away"); err != nil {
				t.Fatal(err)
			}
			for n := 4; n >= 2; n-- {
				_ = os.Rename(Rotated(path, n), Rotated(path, n+1))
			}
			if err := os.Rename(path+".away", Rotated(path, 2)); err != nil {
				t.Fatal(err)
			}
		}
		for moved := true; moved; {
			if err := r.drain(); err != nil {
				t.Fatal(err)
			}
			var err error
			if moved, err = r.next(); err != nil {
				t.Fatal(err)
			}
		}
		if out.String() != want {
			t.Fatalf("after %d: %q", i, out.String())
		}
	}
}

func TestFollowEnds(t *testing.T) {
	defer goleak.VerifyNone(t)
	path := filepath.Join(t.TempDir(), "0.log")
	write(t, path, line(1, "stdout", "F", "x"))
	cctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := Read(cctx, path, Options{Follow: true, Tail: -1}, io.Discard, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := Read(ctx, path, Options{Follow: true, Tail: -1, LimitBytes: 1}, io.Discard, nil); err != nil {
		t.Error(err)
	}
	broken := errors.New("client is gone")
	if err := Read(ctx, path, Options{Follow: true, Tail: -1}, failing{broken}, nil); !errors.Is(err, broken) {
		t.Error(err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestFollowTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	write(t, path, line(1, "stdout", "F", "one"), line(2, "stdout", "F", "two"))
	var out syncBuffer
	done, ended := make(chan struct{}), make(chan error)
	go func() { ended <- Read(ctx, path, Options{Follow: true, Done: done, Tail: -1}, &out, nil) }()
	waitFor(t, "read", func() bool { return out.String() == "one\ntwo\n" })
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	write(t, path, line(3, "stdout", "F", "three"))
	waitFor(t, "read on", func() bool { return out.String() == "one\ntwo\nthree\n" })
	close(done)
	<-ended
}

func TestRotate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "0.log")
	reopen := func() error { write(t, path); return nil }
	for i := range 9 {
		write(t, path, fmt.Sprint("content ", i))
		if err := Rotate(path, 5, 4, reopen); err != nil {
			t.Fatal(err)
		}
	}
	for n, want := range map[int]string{1: "content 8", 2: "content 7", 3: "content 6"} {
		if got, _ := os.ReadFile(Rotated(path, n)); string(got) != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 4 {
		t.Errorf("%d files", len(entries))
	}
	if err := Rotate(path, 5, 4, func() error { t.Error("too small to rotate"); return nil }); err != nil {
		t.Error(err)
	}
	write(t, path, "more content")
	if err := Rotate(path, 5, 4, func() error { return errors.New("no") }); err == nil {
		t.Error("no error")
	}
	if got, _ := os.ReadFile(path); string(got) != "more content" {
		t.Errorf("after a failure the log has %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(line(1, "stdout", "F", "text")))
	f.Add([]byte(line(1, "stderr", "P:x", "")))
	f.Add([]byte("2026-01-02T03:04:05Z stdout F"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := Parse(raw)
		if err == nil && (bytes.IndexByte(e.Stamp, ' ') >= 0 || len(e.Content) > len(raw)) {
			t.Errorf("%+v", e)
		}
		path := filepath.Join(t.TempDir(), "0.log")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		all := read(t, path, Options{Tail: -1})
		for _, tail := range []int64{1, 2} {
			if got := read(t, path, Options{Tail: tail}); !strings.HasSuffix(all, got) {
				t.Errorf("tail %d: %q is not the end of %q", tail, got, all)
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	path := filepath.Join(b.TempDir(), "0.log")
	text := strings.Repeat(line(1, "stdout", "F", strings.Repeat("x", 100)), 100_000)
	write(b, path, text)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if err := Read(ctx, path, Options{Tail: -1}, io.Discard, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTail(b *testing.B) {
	path := filepath.Join(b.TempDir(), "0.log")
	write(b, path, strings.Repeat(line(1, "stdout", "F", strings.Repeat("x", 100)), 100_000))
	for b.Loop() {
		if err := Read(ctx, path, Options{Tail: 100}, io.Discard, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
