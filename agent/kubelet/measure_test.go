package kubelet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestDiskUseStaysInside(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	big := make([]byte, 1<<20)
	for _, f := range []string{filepath.Join(outside, "big"), filepath.Join(dir, "a")} {
		if err := os.WriteFile(f, big, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "same"))
	os.Symlink(outside, filepath.Join(dir, "way-out"))
	os.Symlink(filepath.Join(outside, "big"), filepath.Join(dir, "file-out"))
	os.Mkdir(filepath.Join(dir, "sub"), 0o755)
	u := diskUse(t.Context(), dir)
	if u.bytes < 1<<20 || u.bytes > 1<<20+64<<10 || u.inodes != 5 {
		t.Errorf("%+v: one file of 1 MiB with two names, two links, two directories", u)
	}
	if u := diskUse(t.Context(), filepath.Join(dir, "nothing")); u != (use{}) {
		t.Errorf("%+v", u)
	}
}

// TestMeasurerDoesNotWaitForEver: a walk that takes long is not waited for, and not begun twice.
func TestMeasurerDoesNotWaitForEver(t *testing.T) {
	m := &measurer{have: map[string]*measured{}}
	hold, walks := make(chan struct{}), 0
	slow := func() (use, error) { walks++; <-hold; return use{7, 1}, nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	if _, known := m.get(cancelled, "never", slow); known || walks != 0 {
		t.Error("a scrape without time began a walk")
	}
	done := make(chan bool)
	go func() { _, known := m.get(ctx, "slow", slow); done <- known }()
	cancel()
	if <-done {
		t.Error("known before it was measured")
	}
	close(hold)
	if u, known := m.get(t.Context(), "slow", slow); !known || u.bytes != 7 || walks > 1 {
		t.Errorf("%+v %v after %d walks", u, known, walks)
	}
	if _, known := m.get(t.Context(), "bad", func() (use, error) { return use{}, errors.New("gone") }); known {
		t.Error("a failure is shown as a figure")
	}
}
