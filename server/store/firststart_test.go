package store

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// A power cut during the very first start must not leave a member that waits for a leader for ever.
func TestInterruptedFirstStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "member", "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{firstStart, "member/wal/garbage"} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if act, err := prepare(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)}); err != nil || act != beginAnew {
		t.Fatalf("%v, %v; want to begin anew", act, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "member")); !os.IsNotExist(err) {
		t.Errorf("what the interrupted start left is still there (%v)", err)
	}
}
