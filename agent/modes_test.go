package agent

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// TestFolders: a fresh node has the folders with their modes, and one of an earlier version loses what was too much and keeps what was less,
// but for the agent's folder, which joining a cluster makes for root alone.
func TestFolders(t *testing.T) {
	dir := t.TempDir()
	p := wellknown.Paths{Data: filepath.Join(dir, "data"), Run: filepath.Join(dir, "run"), Log: filepath.Join(dir, "log")}
	check := func(want func(f folder) fs.FileMode) {
		t.Helper()
		if err := secureFolders(p); err != nil {
			t.Fatal(err)
		}
		for _, f := range folders(p) {
			st, err := os.Stat(f.path)
			if err != nil {
				t.Fatal(err)
			}
			if st.Mode().Perm() != want(f) {
				t.Errorf("%s has mode %o, want %o", f.path, st.Mode().Perm(), want(f))
			}
		}
	}
	check(func(f folder) fs.FileMode { return f.mode })
	for _, f := range folders(p) {
		if err := os.Chmod(f.path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	check(func(f folder) fs.FileMode { return f.mode })
	for _, f := range folders(p) {
		if err := os.Chmod(f.path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	check(func(f folder) fs.FileMode {
		if f.path == filepath.Join(p.Data, "agent") {
			return f.mode // it was not an administrator who made it so
		}
		return f.mode & 0o700
	})
}
