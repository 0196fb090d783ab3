package e2e

import (
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/scripts/testbox"
)

// hub is a registry outside the cluster. Repositories below private/ need a password; blobs in bad are served damaged.
type hub struct {
	http.Handler
	host string
	mu   sync.Mutex
	bad  map[string]bool
}

func startHub(s *space) *hub {
	s.Helper()
	l, err := s.box.Listen("tcp", testbox.LANAddress+":0")
	if err != nil {
		s.Fatal(err)
	}
	h := &hub{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), host: l.Addr().String(), bad: map[string]bool{}}
	server := &http.Server{Handler: http.HandlerFunc(h.serve)}
	go func() { _ = server.Serve(l) }()
	s.Cleanup(func() { _ = server.Close() })
	return h
}

func (h *hub) serve(w http.ResponseWriter, r *http.Request) {
	if user, password, _ := r.BasicAuth(); strings.Contains(r.URL.Path, "/private/") && r.Method == http.MethodGet && (user != "me" || password != "secret") {
		w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	digest := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	h.mu.Lock()
	bad := h.bad[digest]
	h.mu.Unlock()
	if bad && r.Method == http.MethodGet {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.CopyN(w, rand.Reader, 1000)
		return
	}
	h.ServeHTTP(w, r)
}

// push sends an image to the hub under a name and returns its digest.
func (h *hub) push(s *space, ref string, image v1.Image) string {
	s.Helper()
	tag, err := name.ParseReference(h.host+"/"+ref, name.Insecure)
	if err != nil {
		s.Fatal(err)
	}
	if err := remote.Write(tag, image, remote.WithTransport(&http.Transport{DialContext: s.node.Dial})); err != nil {
		s.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		s.Fatal(err)
	}
	return digest.String()
}

// TestPull: by tag and by digest, with a pull secret; missing images, damaged layers and lying manifests do no harm.
func TestPull(t *testing.T) {
	s := own(t)
	h := startHub(s)
	if err := os.WriteFile(s.node.RegistriesFile(), []byte("mirrors:\n  "+h.host+":\n    endpoint: [http://"+h.host+"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(archives[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	digest := h.push(s, "app:v1", image)
	h.push(s, "private/app:v1", image)
	broken, err := mutate.Config(empty.Image, v1.Config{Env: []string{"X=1"}})
	if err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(strings.Repeat("\x00", 10240))), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if broken, err = mutate.AppendLayers(broken, layer); err != nil {
		t.Fatal(err)
	}
	h.push(s, "broken:v1", broken)
	sum, _ := layer.Digest()
	h.mu.Lock()
	h.bad[sum.String()] = true
	h.mu.Unlock()

	s.kubectl("create", "secret", "docker-registry", "pull", "--docker-server="+h.host, "--docker-username=me", "--docker-password=secret")
	pod := func(name, ref string, more ...string) string {
		m := strings.ReplaceAll(shell(name, "echo ran"), busybox, h.host+"/"+ref)
		for _, line := range more {
			m = strings.ReplaceAll(m, "  restartPolicy: Never", "  restartPolicy: Never\n  "+line)
		}
		return m
	}
	s.apply(pod("tag", "app:v1") + pod("digest", "app@"+digest) + pod("secret", "private/app:v1", "imagePullSecrets: [{name: pull}]") +
		pod("unauthorized", "private/other:v1") + pod("missing", "none:v1") + pod("broken", "broken:v1") +
		strings.ReplaceAll(pod("wrongdigest", "app@sha256:"+strings.Repeat("0", 64)), "ran", "never") +
		strings.ReplaceAll(shell("invalid", "true"), busybox, "'UPPER CASE'"))
	for _, name := range []string{"tag", "digest", "secret"} {
		if p := s.ended(name); p.Status.Phase != corev1.PodSucceeded {
			t.Errorf("%s: %+v", name, p.Status.ContainerStatuses)
		}
		s.equal(name, s.logs(name), "ran")
	}
	s.contains("imageID", s.get("pod/tag", ".status.containerStatuses[0].imageID"), digest)
	for name, want := range map[string]string{"unauthorized": "authentication required", "missing": "not found", "broken": "digest", "wrongdigest": "not found"} {
		s.eventually(name, func() error {
			reason := s.get("pod/"+name, ".status.containerStatuses[0].state.waiting.reason")
			if reason != "ErrImagePull" && reason != "ImagePullBackOff" {
				return fmt.Errorf("reason %q", reason)
			}
			if out := s.kubectl("events", "--for", "pod/"+name); !strings.Contains(out, `Failed to pull image "`+h.host) || !strings.Contains(strings.ToLower(out), want) {
				return fmt.Errorf("no %q in %s", want, out)
			}
			return nil
		})
		s.becomes("pod/"+name, ".status.containerStatuses[0].state.waiting.reason", "ImagePullBackOff")
	}
	s.becomes("pod/invalid", ".status.containerStatuses[0].state.waiting.reason", "InvalidImageName")

	// The layer is right now: the pod starts without anybody's help.
	h.mu.Lock()
	h.bad = map[string]bool{}
	h.mu.Unlock()
	s.eventually("the repaired image is pulled", func() error {
		if reason := s.get("pod/broken", ".status.containerStatuses[0].state.waiting.reason"); strings.Contains(reason, "ImagePull") {
			return fmt.Errorf("%s", reason)
		}
		return nil
	})
	out, err := s.node.Skiff("image", "ls")
	if err != nil {
		t.Fatal(err)
	}
	s.contains("image ls", out, h.host+"/app", "docker.io/example/web")
	if _, err = s.node.Skiff("image", "pull", h.host+"/app:v1"); err != nil {
		t.Error(err)
	}
	if out, err = s.node.Skiff("image", "pull", h.host+"/none:v1"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("image pull of nothing: %s %v", out, err)
	}
	if _, err = s.node.Skiff("image", "rm", "example/web:v2"); err != nil {
		t.Error(err)
	}
}
