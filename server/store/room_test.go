package store

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
)

// smallDisk is a file system of so many MiB and files.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skip("no file system can be mounted here: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// builtIn starts a store of all built-in kinds.
func builtIn(t *testing.T, dir string) (*Store, func(example api.Object) *api.Kind) {
	t.Helper()
	catalogue, err := api.NewCatalogue(api.BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Dir: dir, Catalogue: catalogue, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return s, func(o api.Object) *api.Kind { return catalogue.ByObject(o) }
}

// leave fills the disk until so many MiB are free.
func leave(t *testing.T, dir string, mib int64) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	_ = os.Remove(path)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, int64(st.Bavail)*st.Bsize-mib<<20), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk: as the disk fills, first new objects are refused, with an error that says why, then also statuses; leases and deletions never.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "size=128m")
	s, kind := builtIn(t, filepath.Join(disk, "etcd"))
	ctx := t.Context()
	create := func(o api.Object) error { _, err := s.Create(ctx, kind(o), o); return err }
	update := func(ctx context.Context, o api.Object, change func(api.Object)) error {
		old := s.Snapshot().Get(kind(o), o.GetNamespace(), o.GetName())
		next := old.DeepCopyObject().(api.Object)
		change(next)
		_, err := s.Update(ctx, kind(o), next, revisionOf(old))
		return err
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "a", Name: name} }
	p, event, node := &corev1.Pod{ObjectMeta: meta("x")}, &corev1.Event{ObjectMeta: meta("e")}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	for _, o := range []api.Object{p, event, node} {
		if err := create(o); err != nil {
			t.Fatal(err)
		}
	}
	annotate := func(o api.Object) { o.SetAnnotations(map[string]string{"now": time.Now().String()}) }
	telling := map[string]func() error{
		"status": func() error { return update(WithReserve(ctx), p, annotate) },
		"event":  func() error { return update(ctx, event, annotate) },
		"node":   func() error { return update(ctx, node, annotate) },
		"graceful deletion": func() error {
			return update(ctx, p, func(o api.Object) { o.SetDeletionTimestamp(new(metav1.Now())); annotate(o) })
		},
	}
	n := 0
	lease := func() error {
		n++
		return create(&coordinationv1.Lease{ObjectMeta: meta("l" + strings.Repeat("x", n))})
	}
	expect := func(what string, err error, full bool) {
		t.Helper()
		if errors.Is(err, ErrFull) != full || !full && err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}

	leave(t, disk, 30)
	err := create(&corev1.Pod{ObjectMeta: meta("y")})
	expect("create", err, true)
	if !strings.Contains(err.Error(), disk) || !strings.Contains(err.Error(), "MiB must stay free") {
		t.Errorf("it does not say why: %v", err)
	}
	expect("new event", create(&corev1.Event{ObjectMeta: meta("f")}), true)
	for what, do := range telling {
		expect(what, do(), false)
	}
	expect("lease", lease(), false)

	leave(t, disk, 8)
	for what, do := range telling {
		expect(what, do(), true)
	}
	expect("lease", lease(), false)
	_, err = s.Delete(ctx, kind(p), "a", "x", 0)
	expect("delete", err, false)

	leave(t, disk, 60)
	expect("create with room again", create(&corev1.Pod{ObjectMeta: meta("y")}), false)
}

// TestNoInodes: a disk can be full of files, too.
func TestNoInodes(t *testing.T) {
	disk := smallDisk(t, "size=128m,nr_inodes=100")
	s, kind := builtIn(t, filepath.Join(disk, "etcd"))
	for i := range 50 {
		if err := os.WriteFile(filepath.Join(disk, strings.Repeat("f", i+1)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := pod()
	p.ResourceVersion = ""
	if _, err := s.Create(t.Context(), kind(p), p); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "inodes") {
		t.Errorf("%v", err)
	}
}
