package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ociArchive packs an image of one layer below an index below the archive's index.
func ociArchive(t testing.TB, arch string, layer layerSpec, spoil bool) []byte {
	config := []byte(fmt.Sprintf(`{"os":"linux","architecture":%q,"rootfs":{"diff_ids":[%q]}}`, arch, digestOf(layer.diff)))
	man, _ := json.Marshal(map[string]any{"schemaVersion": 2,
		"config": map[string]any{"digest": digestOf(config), "size": len(config)},
		"layers": []any{map[string]any{"digest": digestOf(layer.blob), "size": len(layer.blob)}}})
	inner, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{
		map[string]any{"digest": "sha256:" + strings.Repeat("0", 64), "size": 1, "platform": map[string]any{"os": "linux", "architecture": "s390x"}},
		map[string]any{"digest": digestOf(man), "size": len(man), "platform": map[string]any{"os": "linux", "architecture": arch}}}})
	top, _ := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []any{
		map[string]any{"digest": digestOf(inner), "size": len(inner), "annotations": map[string]string{"io.containerd.image.name": "example.com/app:v1", "org.opencontainers.image.ref.name": "v1"}}}})
	body := layer.blob
	if spoil {
		body = bytes.Repeat([]byte("x"), len(body))
	}
	blob := func(d string, b []byte) tar.Header { return file("blobs/sha256/"+hexOf(d), string(b)) }
	return tarOf(t, file("oci-layout", "{}"), blob(digestOf(config), config), blob(digestOf(man), man), blob(digestOf(inner), inner),
		blob(digestOf(layer.blob), body), file("index.json", string(top)))
}

func TestImportOCI(t *testing.T) {
	needRoot(t)
	s := openStore(t, t.TempDir())
	ctx := context.Background()
	raw := ociArchive(t, s.platform.Architecture, gzipLayer(t, file("hello", "oci")), false)
	for name, packed := range map[string][]byte{"plain": raw, "gzip": gzipOf(raw), "zstd": zstdOf(raw)} {
		images, err := s.Import(ctx, bytes.NewReader(packed))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(images) != 1 || images[0].Names[0] != "example.com/app:v1" || readLayer(t, images[0], 0, "hello") != "oci" {
			t.Errorf("%s: %+v", name, images)
		}
	}
	foreign := ociArchive(t, "s390x", gzipLayer(t, file("a", "b")), false)
	if _, err := s.Import(ctx, bytes.NewReader(foreign)); !errors.Is(err, ErrNotFound) {
		t.Errorf("foreign: %v", err)
	}
	spoilt := ociArchive(t, s.platform.Architecture, gzipLayer(t, file("new", "layer")), true)
	for name, bad := range map[string][]byte{"spoilt": spoilt, "cut": raw[:len(raw)/2], "empty": nil, "no archive": tarOf(t, file("x", "y"))} {
		if _, err := s.Import(ctx, bytes.NewReader(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	noLeftovers(t, s)
}

// TestImportOldDocker: two images that share a layer, the second by a symbolic link, as old docker save writes it.
func TestImportOldDocker(t *testing.T) {
	needRoot(t)
	s := openStore(t, t.TempDir())
	layer := tarOf(t, file("f", "docker"))
	config := func(env string) string {
		return fmt.Sprintf(`{"os":"linux","architecture":%q,"config":{"Env":[%q]},"rootfs":{"diff_ids":[%q]}}`, s.platform.Architecture, env, digestOf(layer))
	}
	raw := tarOf(t, file("one/layer.tar", string(layer)), tar.Header{Typeflag: tar.TypeSymlink, Name: "two/layer.tar", Linkname: "../one/layer.tar"},
		file("1.json", config("A=1")), file("2.json", config("A=2")),
		file("manifest.json", `[{"Config":"1.json","RepoTags":["one","one:v2"],"Layers":["one/layer.tar"]},{"Config":"2.json","RepoTags":null,"Layers":["two/layer.tar"]}]`))
	path := filepath.Join(t.TempDir(), "a.tar")
	os.WriteFile(path, raw, 0o600)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	images, err := s.Import(context.Background(), f)
	if err != nil || len(images) != 2 {
		t.Fatal(images, err)
	}
	if got := fmt.Sprint(images[0].Names); got != "[docker.io/library/one:latest docker.io/library/one:v2]" {
		t.Error(got)
	}
	if images[0].Layers[0] != images[1].Layers[0] || len(images[1].Names) != 0 {
		t.Errorf("%+v", images[1])
	}
}

// TestDiskFull pulls and imports onto a file system that is too small.
func TestDiskFull(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := unix.Mount("skiff-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("cannot mount a tmpfs:", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	s := openStore(t, dir)
	r := newRegistry(t)
	noise := make([]byte, 4<<20)
	rand.New(rand.NewSource(1)).Read(noise)
	r.pushImage("big", "v1", s.platform.Architecture, gzipLayer(t, file("big", string(noise))))
	_, err := s.Pull(context.Background(), r.host+"/big:v1", PullOptions{})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "is full") {
		t.Errorf("pull: %v", err)
	}
	_, err = s.Import(context.Background(), bytes.NewReader(ociArchive(t, s.platform.Architecture, gzipLayer(t, file("big", string(noise))), false)))
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "is full") {
		t.Errorf("import: %v", err)
	}
	noLeftovers(t, s)
	var st unix.Statfs_t
	if unix.Statfs(dir, &st); st.Bfree*uint64(st.Bsize) < 900<<10 {
		t.Errorf("only %d bytes are free after the failures", st.Bfree*uint64(st.Bsize))
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Errorf("%v", err)
	}
	s.Close()
	openStore(t, dir)
}

func TestParseReference(t *testing.T) {
	d := "sha256:" + strings.Repeat("a", 64)
	for in, want := range map[string]string{
		"nginx": "docker.io/library/nginx:latest", "nginx:1.27": "docker.io/library/nginx:1.27", "a/b": "docker.io/a/b:latest",
		"docker.io/nginx": "docker.io/library/nginx:latest", "index.docker.io/nginx": "docker.io/library/nginx:latest",
		"localhost/x": "localhost/x:latest", "localhost:5000/x:y": "localhost:5000/x:y", "[::1]:5000/x": "[::1]:5000/x:latest",
		"quay.io/a/b@" + d: "quay.io/a/b@" + d, "nginx:1@" + d: "docker.io/library/nginx:1@" + d, "Host.io/x": "Host.io/x:latest",
		"": "", "UPPER": "", "a//b": "", "a:b:c": "", "a@sha256:12": "", "a@md5:" + d[7:]: "", "-a": "", "a/../b": "", "http://x/y": "", "x y": "", "a:": "", strings.Repeat("a", 300): "",
	} {
		got, err := ParseReference(in)
		if want == "" {
			if !errors.Is(err, ErrBadReference) {
				t.Errorf("%q: %v, %v", in, got, err)
			}
		} else if got.String() != want {
			t.Errorf("%q: %v, %v; want %s", in, got, err, want)
		}
	}
}

// FuzzParseReference: what is taken is normal: parsing its own text gives the same again.
func FuzzParseReference(f *testing.F) {
	f.Add("docker.io/library/nginx:1.27")
	f.Add("[::1]:5000/x@sha256:" + strings.Repeat("a", 64))
	f.Fuzz(func(t *testing.T, in string) {
		r, err := ParseReference(in)
		if err != nil {
			return
		}
		again, err := ParseReference(r.String())
		if err != nil || again != r {
			t.Errorf("%q → %+v → %+v, %v", in, r, again, err)
		}
	})
}

// FuzzManifest: no manifest or config panics.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:00"},"layers":[{"digest":"x","size":-1}]}`))
	f.Add([]byte(`{"manifests":[{"platform":{"os":"linux","architecture":"amd64"}}]}`))
	f.Add([]byte(`{"rootfs":{"diff_ids":["sha256:00"]},"config":{"Env":null}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if m, err := parseManifest(raw); err == nil && m.isIndex() {
			m.choose(hostPlatform(), nil)
		}
		parseConfig(raw)
	})
}

func BenchmarkImport(b *testing.B) {
	needRoot(b)
	noise := make([]byte, 32<<20)
	rand.New(rand.NewSource(1)).Read(noise)
	for i := range noise { // compresses about 2:1, like programs
		noise[i] &= 0x5f
	}
	raw := ociArchive(b, hostPlatform().Architecture, gzipLayer(b, file("big", string(noise))), false)
	b.SetBytes(int64(len(noise)))
	for b.Loop() {
		s, err := Open(Config{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Import(context.Background(), bytes.NewReader(raw)); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
