package store

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"

	"codeberg.org/skiff/skiff/server/api"
)

// smallFiles makes etcd's files small, so that a few hundred objects fill several of them.
func smallFiles(t *testing.T, snapshots uint64) {
	t.Helper()
	smallSegments()
	segment, count := wal.SegmentSizeBytes, snapshotCount
	wal.SegmentSizeBytes, snapshotCount = 64<<10, snapshots
	t.Cleanup(func() { wal.SegmentSizeBytes, snapshotCount = segment, count })
}

// tryStart runs a store on dir. When it comes up, its objects are counted.
func tryStart(t *testing.T, dir, mark string, recover bool) (objects int, revision int64, err error) {
	t.Helper()
	k := podKind()
	catalogue, err := api.NewCatalogue([]*api.Kind{k})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Dir: dir, Mark: mark, Recover: recover, Catalogue: catalogue, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-ended:
		cancel()
		return 0, 0, err
	case <-time.After(time.Minute):
		t.Fatal("neither up nor an error")
	}
	objects, revision = s.Snapshot().Count(k, ""), s.Snapshot().Revision()
	if _, err := s.Create(ctx, k, numbered(1<<20)); err != nil && !errors.Is(err, ErrExists) {
		t.Errorf("a write after the start: %v", err)
	}
	cancel()
	return objects, revision, <-ended
}

// fill writes objects, and commits the database after the first half of them.
func fill(t *testing.T, dir string, count int) {
	t.Helper()
	s, k, stop := start(t, dir)
	for half := range 2 {
		var all sync.WaitGroup
		for worker := range 8 {
			all.Go(func() {
				for i := half*count/2 + worker; i < (half+1)*count/2; i += 8 {
					if _, err := s.Create(context.Background(), k, numbered(i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if half == 0 {
			s.member.Load().server.Backend().ForceCommit()
		}
	}
	// A machine that loses power writes nothing more: neither a commit nor a note of ours.
	if out, err := exec.Command("cp", "-a", filepath.Join(dir, "member"), filepath.Join(dir, "cut")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(dir, "member")), os.Rename(filepath.Join(dir, "cut"), filepath.Join(dir, "member"))); err != nil {
		t.Fatal(err)
	}
}

// damages are what can happen to a file or folder.
var damages = map[string]func(path string) error{
	"removed": os.RemoveAll,
	"emptied": func(path string) error {
		return onFiles(path, func(p string, _ int64) error { return os.Truncate(p, 0) })
	},
	"cut": func(path string) error {
		return onFiles(path, func(p string, size int64) error { return os.Truncate(p, size/2) })
	},
	"zeroed":    func(path string) error { return onFiles(path, zero(0)) },
	"half zero": func(path string) error { return onFiles(path, zero(2)) },
}

func zero(part int64) func(string, int64) error {
	return func(path string, size int64) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		from := int64(0)
		if part > 0 {
			from = size / part
		}
		_, err = f.WriteAt(make([]byte, size-from), from)
		return errors.Join(err, f.Close())
	}
}

func onFiles(path string, do func(string, int64) error) error {
	return filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		return do(p, st.Size())
	})
}

// TestEveryFile damages each file and folder of etcd's in turn. A store that starts has every object; one that does not says what it found, what is
// lost and how to go on; and where it offers --recover, that goes on with what the database had, at a revision that nobody has seen.
func TestEveryFile(t *testing.T) {
	for _, history := range []struct {
		name      string
		snapshots uint64
	}{{"whole log", 1 << 20}, {"log with snapshots", 100}} {
		t.Run(history.name, func(t *testing.T) {
			smallFiles(t, history.snapshots)
			const count = 400
			origin := t.TempDir()
			fill(t, origin, count)
			var paths []string
			err := filepath.WalkDir(origin, func(path string, _ fs.DirEntry, err error) error {
				rel, _ := filepath.Rel(origin, path)
				paths = append(paths, rel)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range paths {
				for name := range damages {
					t.Run(strings.ReplaceAll(path, "/", ":")+" "+name, func(t *testing.T) { damaged(t, origin, path, name, count) })
				}
			}
		})
	}
}

func damaged(t *testing.T, origin, path, how string, count int) {
	top := t.TempDir()
	dir, mark := filepath.Join(top, "etcd"), filepath.Join(top, "mark")
	if out, err := exec.Command("cp", "-a", "--sparse=always", origin, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := damages[how](filepath.Join(dir, path)); err != nil {
		t.Fatal(err)
	}
	objects, revision, err := tryStart(t, dir, mark, false)
	if err == nil {
		if objects != count {
			t.Errorf("it came up with %d objects of %d", objects, count)
		}
		t.Log("nothing is lost")
		return
	}
	t.Log(err)
	var damage *DamageError
	if !errors.As(err, &damage) {
		t.Fatalf("no DamageError: %v", err)
	}
	if text := err.Error(); !strings.Contains(text, dir) || damage.Lost == "" || damage.Found == "" {
		t.Errorf("it says too little: %v", err)
	}
	if !damage.Recoverable {
		if _, _, err := tryStart(t, dir, mark, true); err == nil {
			t.Errorf("it recovers from %q", damage)
		}
		return
	}
	before := revision
	if objects, revision, err = tryStart(t, dir, mark, true); err != nil {
		t.Fatalf("--recover after %q: %v", damage, err)
	}
	if objects < count/2 || revision <= before {
		t.Errorf("--recover came up with %d objects of %d at revision %d", objects, count, revision)
	}
	if _, _, err = tryStart(t, dir, mark, true); err == nil {
		t.Error("--recover of whole data is no error")
	}
	if again, _, err := tryStart(t, dir, mark, false); err != nil || again != objects+1 {
		t.Errorf("start after --recover: %d objects, %v", again, err)
	}
}

// TestDamageWithin: zeros in the middle of the database end the process, which nothing can prevent without reading all of it at each start; the next
// start says why.
func TestDamageWithin(t *testing.T) {
	smallFiles(t, 100)
	dir := t.TempDir()
	fill(t, dir, 400)
	f, err := os.OpenFile(databasePath(dir), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 64<<10), 8<<10); err != nil { // after the two pages that are looked at
		t.Fatal(err)
	}
	f.Close()
	if err := os.WriteFile(filepath.Join(dir, opening), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = tryStart(t, dir, "", false)
	if damage := (*DamageError)(nil); !errors.As(err, &damage) || damage.Recoverable {
		t.Errorf("%v", err)
	}
	if _, _, err = tryStart(t, dir, "", true); err == nil {
		t.Error("it recovers from a damaged database")
	}
}

// TestInUse: two skiffs on the same data.
func TestInUse(t *testing.T) {
	dir := t.TempDir()
	_, _, stop := start(t, dir)
	if _, err := inspect(Config{Dir: dir}, false); !errors.Is(err, errInUse) {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func BenchmarkInspect(b *testing.B) {
	dir := b.TempDir()
	s, k, stop := start(b, dir)
	for i := range 2400 {
		if _, err := s.Create(context.Background(), k, numbered(i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if f, err := inspect(Config{Dir: dir}, false); err != nil || f.log.last < 2400 {
			b.Fatal(f, err)
		}
	}
}
