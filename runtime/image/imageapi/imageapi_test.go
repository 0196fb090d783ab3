package imageapi

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"codeberg.org/skiff/skiff/runtime/image"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// dockerArchive is a smallest image named name.
func dockerArchive(name string) []byte {
	tarOf := func(files ...string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for i := 0; i < len(files); i += 2 {
			w.WriteHeader(&tar.Header{Name: files[i], Size: int64(len(files[i+1])), Mode: 0o644})
			w.Write([]byte(files[i+1]))
		}
		w.Close()
		return b.Bytes()
	}
	layer := tarOf("hello", name)
	config := fmt.Sprintf(`{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["sha256:%x"]}}`, sha256.Sum256(layer))
	return tarOf("c.json", config, "l/layer.tar", string(layer),
		"manifest.json", fmt.Sprintf(`[{"Config":"c.json","RepoTags":[%q],"Layers":["l/layer.tar"]}]`, name))
}

// TestBothWays runs the same tour through a daemon and without one.
func TestBothWays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: layers have owners")
	}
	for _, daemon := range []bool{true, false} {
		t.Run(fmt.Sprintf("daemon=%v", daemon), func(t *testing.T) {
			dir := t.TempDir()
			socket := filepath.Join(dir, "image.sock")
			cfg := image.Config{Dir: filepath.Join(dir, "images")}
			if daemon {
				serve(t, socket, cfg)
			}
			api, err := Connect(socket, cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer api.Close()
			tour(t, api, dir)
		})
	}
}

func serve(t *testing.T, socket string, cfg image.Config) {
	store, err := image.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(socket, nil, 0o600) // left by a crash
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, socket, Handler(store, nil)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		store.Close()
	})
	for range 100 {
		if st, err := os.Stat(socket); err == nil && st.Mode()&os.ModeSocket != 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the daemon does not listen")
}

func tour(t *testing.T, api API, dir string) {
	ctx := context.Background()
	file := filepath.Join(dir, "a.tar")
	os.WriteFile(file, dockerArchive("hello:v1"), 0o600)
	var out bytes.Buffer
	if err := ImportCommand(ctx, api, &out, bytes.NewReader(dockerArchive("hello:v2")), file, "-"); err != nil {
		t.Fatal(err)
	}
	if err := ListCommand(ctx, api, &out, false); err != nil {
		t.Fatal(err)
	}
	if err := RemoveCommand(ctx, api, &out, "hello:v1"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"imported docker.io/library/hello:v1", "imported docker.io/library/hello:v2", "docker.io/library/hello   v2", "hello:v1: removed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if err := RemoveCommand(ctx, api, &out, "hello:v1"); !errors.Is(err, image.ErrNotFound) {
		t.Errorf("removing twice: %v", err)
	}
	if err := PullCommand(ctx, api, &out, image.PullOptions{}, "127.0.0.1:1/x"); !errors.Is(err, image.ErrUnreachable) {
		t.Errorf("unreachable: %v", err)
	}
	if err := ImportCommand(ctx, api, &out, strings.NewReader("not a tar"), "-"); !errors.Is(err, image.ErrCorrupt) {
		t.Errorf("not a tar: %v", err)
	}
}
