package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/zstd"
)

// testRegistry is go-containerregistry's in-memory registry behind a handler that tests can change.
type testRegistry struct {
	t     testing.TB
	inner http.Handler
	host  string
	// intercept answers a request itself by returning true.
	intercept atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	requests  sync.Map // "METHOD path" → *atomic.Int64
}

func newRegistry(t testing.TB) *testRegistry {
	r := &testRegistry{t: t, inner: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	r.host = strings.TrimPrefix(srv.URL, "http://")
	return r
}

func (r *testRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	n, _ := r.requests.LoadOrStore(req.Method+" "+req.URL.Path, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
	if f := r.intercept.Load(); f != nil && (*f)(w, req) {
		return
	}
	r.inner.ServeHTTP(w, req)
}

func (r *testRegistry) onRequest(f func(http.ResponseWriter, *http.Request) bool) {
	r.intercept.Store(&f)
}

func (r *testRegistry) count(method, path string) int64 {
	n, ok := r.requests.Load(method + " " + path)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

func (r *testRegistry) put(path, mediaType string, body []byte) {
	r.t.Helper()
	method := http.MethodPut
	if strings.Contains(path, "/blobs/uploads/") {
		method = http.MethodPost
	}
	req := httptest.NewRequest(method, path, bytes.NewReader(body))
	req.Header.Set("Content-Type", mediaType)
	w := httptest.NewRecorder()
	r.inner.ServeHTTP(w, req)
	if w.Code/100 != 2 {
		r.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
}

func (r *testRegistry) putBlob(repo string, body []byte) string {
	d := digestOf(body)
	r.put("/v2/"+repo+"/blobs/uploads/?digest="+d, "application/octet-stream", body)
	return d
}

// layerSpec is a layer in both forms.
type layerSpec struct{ diff, blob []byte }

func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		body := []byte(h.PAXRecords["test.body"])
		delete(h.PAXRecords, "test.body")
		if len(h.PAXRecords) == 0 {
			h.PAXRecords = nil
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(body))
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		w.Write(body)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name, body string) tar.Header {
	return tar.Header{Name: name, PAXRecords: map[string]string{"test.body": body}}
}

func gzipOf(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zstdOf(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

func gzipLayer(t testing.TB, headers ...tar.Header) layerSpec {
	b := tarOf(t, headers...)
	return layerSpec{b, gzipOf(b)}
}

// pushImage pushes an image and returns the digest of its manifest.
func (r *testRegistry) pushImage(repo, tag, arch string, layers ...layerSpec) string {
	r.t.Helper()
	var diffs []string
	var descs []map[string]any
	for _, l := range layers {
		diffs = append(diffs, digestOf(l.diff))
		descs = append(descs, map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": r.putBlob(repo, l.blob), "size": len(l.blob)})
	}
	config, _ := json.Marshal(map[string]any{
		"os": "linux", "architecture": arch, "rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
		"config": map[string]any{"Env": []string{"A=b"}, "Cmd": []string{"/bin/true"}, "User": "1000", "ExposedPorts": map[string]any{"80/tcp": map[string]any{}}},
	})
	const mt = "application/vnd.oci.image.manifest.v1+json"
	man, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": mt, "layers": descs,
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": r.putBlob(repo, config), "size": len(config)},
	})
	r.put("/v2/"+repo+"/manifests/"+tag, mt, man)
	return digestOf(man)
}

func (r *testRegistry) pushIndex(repo, tag string, platforms map[string]string) string {
	const mt = "application/vnd.oci.image.index.v1+json"
	var list []map[string]any
	for p, d := range platforms {
		os, arch, _ := strings.Cut(p, "/")
		list = append(list, map[string]any{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": d, "size": 1, "platform": map[string]any{"os": os, "architecture": arch}})
	}
	raw, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": mt, "manifests": list})
	r.put("/v2/"+repo+"/manifests/"+tag, mt, raw)
	return digestOf(raw)
}

func readLayer(t testing.TB, img *Image, layer int, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(img.Layers[layer], name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func noLeftovers(t testing.TB, s *Store) {
	t.Helper()
	for _, d := range []string{s.layerRoot(), s.ingestDir()} {
		entries, _ := os.ReadDir(d)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				t.Errorf("left behind: %s/%s", d, e.Name())
			}
		}
	}
}

func TestPullCompressions(t *testing.T) {
	needRoot(t)
	r := newRegistry(t)
	s := openStore(t, t.TempDir())
	plain := tarOf(t, file("plain", "p"))
	z := tarOf(t, file("zst", "z"))
	digest := r.pushImage("team/app", "v1", s.platform.Architecture,
		gzipLayer(t, file("gz", "g")), layerSpec{z, zstdOf(z)}, layerSpec{plain, plain})
	img, err := s.Pull(context.Background(), r.host+"/team/app:v1", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"gz", "zst", "plain"} {
		if got := readLayer(t, img, i, name); got != name[:1] {
			t.Errorf("layer %d: %q", i, got)
		}
	}
	if img.User != "1000" || img.Env[0] != "A=b" || img.Cmd[0] != "/bin/true" || img.ExposedPorts[0] != "80/tcp" {
		t.Errorf("config: %+v", img)
	}
	for _, ref := range []string{r.host + "/team/app:v1", r.host + "/team/app@" + digest, img.ID, strings.TrimPrefix(img.ID, "sha256:")} {
		if s.Get(ref) != img {
			t.Errorf("Get(%s) does not find it", ref)
		}
	}
	noLeftovers(t, s)
	byDigest, err := s.Pull(context.Background(), r.host+"/team/app@"+digest, PullOptions{})
	if err != nil || byDigest.ID != img.ID {
		t.Fatalf("by digest: %v %v", byDigest, err)
	}
	s.Close()
	again := openStore(t, s.cfg.Dir)
	if got := again.Get(img.ID); got == nil || got.Size != img.Size || fmt.Sprint(got.Names, got.Digests) != fmt.Sprint(img.Names, img.Digests) {
		t.Errorf("after opening again: %+v", got)
	}
}

func TestPullMultiArch(t *testing.T) {
	needRoot(t)
	r := newRegistry(t)
	s := openStore(t, t.TempDir())
	mine := r.pushImage("app", "mine", s.platform.Architecture, gzipLayer(t, file("who", "mine")))
	other := r.pushImage("app", "other", "s390x", gzipLayer(t, file("who", "other")))
	index := r.pushIndex("app", "multi", map[string]string{"linux/" + s.platform.Architecture: mine, "linux/s390x": other})
	img, err := s.Pull(context.Background(), r.host+"/app:multi", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if readLayer(t, img, 0, "who") != "mine" || img.Digests[0] != r.host+"/app@"+index {
		t.Errorf("%v", img.Digests)
	}
	r.pushIndex("app", "foreign", map[string]string{"linux/s390x": other})
	if _, err := s.Pull(context.Background(), r.host+"/app:foreign", PullOptions{}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "no image for linux/") {
		t.Errorf("foreign: %v", err)
	}
}

func TestPullErrors(t *testing.T) {
	needRoot(t)
	r := newRegistry(t)
	s := openStore(t, t.TempDir())
	ctx := context.Background()
	if _, err := s.Pull(ctx, r.host+"/none:v1", PullOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	if _, err := s.Pull(ctx, "UPPER case", PullOptions{}); !errors.Is(err, ErrBadReference) {
		t.Errorf("bad reference: %v", err)
	}
	start := time.Now()
	if _, err := s.Pull(ctx, "127.0.0.1:1/x", PullOptions{}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("unreachable: %v", err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("unreachable took %v", took)
	}
	l := gzipLayer(t, file("a", "right"))
	wrong := gzipLayer(t, file("a", "wrong"))
	r.pushImage("bad", "diff", s.platform.Architecture, layerSpec{l.diff, wrong.blob})
	if _, err := s.Pull(ctx, r.host+"/bad:diff", PullOptions{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("wrong diff ID: %v", err)
	}
	r.pushImage("bad", "blob", s.platform.Architecture, l)
	r.onRequest(func(w http.ResponseWriter, req *http.Request) bool {
		if strings.HasSuffix(req.URL.Path, digestOf(l.blob)) {
			w.Write(bytes.Repeat([]byte("x"), len(l.blob)))
			return true
		}
		return false
	})
	if _, err := s.Pull(ctx, r.host+"/bad:blob", PullOptions{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("wrong blob: %v", err)
	}
	r.onRequest(func(w http.ResponseWriter, req *http.Request) bool {
		if strings.Contains(req.URL.Path, "/manifests/sha256:") {
			w.Write([]byte(`{"schemaVersion":2}`))
			return true
		}
		return false
	})
	if _, err := s.Pull(ctx, r.host+"/bad@sha256:"+strings.Repeat("ab", 32), PullOptions{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("wrong manifest: %v", err)
	}
	if len(s.List()) != 0 {
		t.Errorf("images after errors: %v", s.List())
	}
	noLeftovers(t, s)
}

// TestPullResumes cuts every connection after a while; the pull must come through, each byte fetched about once.
func TestPullResumes(t *testing.T) {
	needRoot(t)
	r := newRegistry(t)
	s := openStore(t, t.TempDir())
	body := make([]byte, 1<<20)
	for i := range body {
		body[i] = byte(i * 7919 >> 3)
	}
	raw := tarOf(t, file("big", string(body)))
	r.pushImage("big", "v1", s.platform.Architecture, layerSpec{raw, raw})
	var sent, connections atomic.Int64
	cut := func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.HasSuffix(req.URL.Path, digestOf(raw)) {
			return false
		}
		connections.Add(1)
		from := 0
		if h := req.Header.Get("Range"); h != "" {
			fmt.Sscanf(h, "bytes=%d-", &from)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(raw)-1, len(raw)))
			w.Header().Set("Content-Length", fmt.Sprint(len(raw)-from))
			w.WriteHeader(http.StatusPartialContent)
		}
		n, _ := w.Write(raw[from:min(len(raw), from+300_000)])
		sent.Add(int64(n))
		if from+n < len(raw) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		return true
	}
	r.onRequest(cut)
	img, err := s.Pull(context.Background(), r.host+"/big:v1", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if readLayer(t, img, 0, "big") != string(body) || connections.Load() < 4 || sent.Load() > int64(len(raw))+100_000 {
		t.Errorf("%d connections sent %d of %d bytes", connections.Load(), sent.Load(), len(raw))
	}

	// A partial download of an earlier process is continued; a spoilt one is fetched again.
	for name, part := range map[string][]byte{"good": raw[:700_000], "spoilt": bytes.Repeat([]byte("no"), 350_000)} {
		s := openStore(t, t.TempDir())
		if err := os.WriteFile(s.ingestPath(digestOf(raw)), part, 0o600); err != nil {
			t.Fatal(err)
		}
		sent.Store(0)
		if _, err := s.Pull(context.Background(), r.host+"/big:v1", PullOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if name == "good" && sent.Load() != int64(len(raw)-len(part)) {
			t.Errorf("%s: sent %d", name, sent.Load())
		}
	}
}

// TestPullOnce: many callers of images that share a layer fetch it once.
func TestPullOnce(t *testing.T) {
	needRoot(t)
	r := newRegistry(t)
	s := openStore(t, t.TempDir())
	shared := gzipLayer(t, file("shared", strings.Repeat("x", 1<<20)))
	for i := range 4 {
		r.pushImage("app", fmt.Sprint("v", i), s.platform.Architecture, shared, gzipLayer(t, file("own", fmt.Sprint(i))))
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := s.Pull(context.Background(), fmt.Sprintf("%s/app:v%d", r.host, i%4), PullOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := r.count("GET", "/v2/app/blobs/"+digestOf(shared.blob)); n != 1 {
		t.Errorf("the shared layer was fetched %d times", n)
	}
	noLeftovers(t, s)
}

func TestPullCancelled(t *testing.T) {
	needRoot(t)
	r := newRegistry(t)
	s := openStore(t, t.TempDir())
	l := gzipLayer(t, file("a", "b"))
	r.pushImage("slow", "v1", s.platform.Architecture, l)
	r.onRequest(func(w http.ResponseWriter, req *http.Request) bool {
		if strings.HasSuffix(req.URL.Path, digestOf(l.blob)) {
			w.Write(l.blob[:10])
			w.(http.Flusher).Flush()
			<-req.Context().Done()
			return true
		}
		return false
	})
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Pull(ctx, r.host+"/slow:v1", PullOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	noLeftovers(t, s)
}

func TestPullCredentialsAndMirrors(t *testing.T) {
	needRoot(t)
	r := newRegistry(t)
	s := openStore(t, t.TempDir())
	r.pushImage("library/nginx", "latest", s.platform.Architecture, gzipLayer(t, file("a", "b")))
	r.pushImage("renamed/app", "v1", s.platform.Architecture, gzipLayer(t, file("a", "c")))
	r.onRequest(func(w http.ResponseWriter, req *http.Request) bool {
		if user, pass, _ := req.BasicAuth(); user == "u" && pass == "p" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	ctx := context.Background()
	ref := r.host + "/library/nginx"
	if _, err := s.Pull(ctx, ref, PullOptions{}); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("no credentials: %v", err)
	}
	if _, err := s.Pull(ctx, ref, PullOptions{Auths: []Auth{{Username: "u", Password: "wrong"}}}); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("wrong credentials: %v", err)
	}
	accepted := -1
	got, err := s.Pull(ctx, ref, PullOptions{Auths: []Auth{{Username: "x"}, {Username: "u", Password: "p"}}, Accepted: func(i int) { accepted = i }})
	if err != nil || accepted != 1 {
		t.Fatalf("second credentials: %v, accepted %d", err, accepted)
	}
	// All of it is here now. That is no reason to give it to who may not have it, whatever he calls it.
	for _, name := range append(got.Digests, ref) {
		if _, err := s.Pull(ctx, name, PullOptions{}); !errors.Is(err, ErrUnauthorized) {
			t.Errorf("%s without credentials, when it is here: %v", name, err)
		}
	}
	conf := fmt.Sprintf("mirrors:\n  docker.io:\n    endpoint: [\"http://127.0.0.1:1\", \"http://%s\"]\n  example.com:\n    endpoint: [\"http://%s/v2\"]\n    rewrite: {\"^old/(.*)\": \"renamed/$1\"}\nconfigs:\n  %q:\n    auth: {username: u, password: p}\n", r.host, r.host, r.host)
	if err := os.WriteFile(s.cfg.Registries, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := s.Pull(ctx, "nginx", PullOptions{})
	if err != nil {
		t.Fatalf("mirror: %v", err)
	}
	for _, n := range []string{"nginx", "docker.io/library/nginx:latest", "library/nginx:latest"} {
		if s.Get(n) != img {
			t.Errorf("not found as %s", n)
		}
	}
	if _, err := s.Pull(ctx, "example.com/old/app:v1", PullOptions{}); err != nil {
		t.Errorf("rewrite: %v", err)
	}
	// Pull secrets are for the registry, not for its mirrors.
	os.WriteFile(s.cfg.Registries, []byte(fmt.Sprintf("mirrors:\n  127.0.0.1:1:\n    endpoint: [\"http://%s\"]\n", r.host)), 0o600)
	if _, err := s.Pull(ctx, "127.0.0.1:1/renamed/app:v1", PullOptions{Auths: []Auth{{Username: "u", Password: "p"}}}); err == nil {
		t.Error("a mirror was shown the registry's credentials")
	}
}

func TestRemove(t *testing.T) {
	needRoot(t)
	r := newRegistry(t)
	s := openStore(t, t.TempDir())
	ctx := context.Background()
	shared, own := gzipLayer(t, file("s", "s")), gzipLayer(t, file("o", "o"))
	r.pushImage("a", "v1", s.platform.Architecture, shared, own)
	r.pushImage("a", "v2", s.platform.Architecture, shared)
	v1, err := s.Pull(ctx, r.host+"/a:v1", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	v2, err := s.Pull(ctx, r.host+"/a:v2", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, v1.ID, func(id string) bool { return id == v1.ID }); !errors.Is(err, ErrInUse) {
		t.Errorf("in use: %v", err)
	}
	if err := s.Remove(ctx, r.host+"/a:v1", nil); err != nil {
		t.Fatal(err)
	}
	if s.Get(v1.ID) != nil || s.Get(v2.ID) == nil {
		t.Error("wrong image removed")
	}
	if _, err := os.Stat(v1.Layers[1]); !os.IsNotExist(err) {
		t.Errorf("its own layer is still there: %v", err)
	}
	if readLayer(t, v2, 0, "s") != "s" {
		t.Error("the shared layer is damaged")
	}
	if err := s.Remove(ctx, v2.ID, nil); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Usage(); n != 0 || err != nil {
		t.Errorf("usage %d, %v", n, err)
	}
	if err := s.Remove(ctx, v2.ID, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
}

func TestDamagedIndex(t *testing.T) {
	needRoot(t)
	r := newRegistry(t)
	dir := t.TempDir()
	s := openStore(t, dir)
	r.pushImage("a", "v1", s.platform.Architecture, gzipLayer(t, file("a", "a")))
	r.pushImage("b", "v1", s.platform.Architecture, gzipLayer(t, file("b", "b")))
	a, err := s.Pull(context.Background(), r.host+"/a:v1", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Pull(context.Background(), r.host+"/b:v1", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	os.WriteFile(filepath.Join(dir, "index.json"), []byte("{\x00\x00"), 0o600)
	s = openStore(t, dir)
	if s.Get(r.host+"/a:v1") == nil || s.Get(b.ID) == nil {
		t.Errorf("rebuilt: %+v", s.List())
	}
	s.Close()
	os.RemoveAll(a.Layers[0])
	s = openStore(t, dir)
	if s.Get(a.ID) != nil || s.Get(b.ID) == nil {
		t.Errorf("with a layer gone: %+v", s.List())
	}
}
