package image

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLayersInMounts(t *testing.T) {
	a, b, c := strings.Repeat("a", 64), strings.Repeat("b", 64), strings.Repeat("c", 64)
	const line = "36 35 98:0 / /pods/x/volumes/y rw,noatime master:1 - overlay overlay rw,lowerdir="
	mounts := line + "/d/layers/" + a + "/fs:/d/layers/" + b + "/fs\n37 35 8:1 /lib/images/layers/" + c + "/fs /pods/z ro - ext4 /dev/sda1 rw\n"
	for _, list := range [][]string{{"sha256:" + a}, {"sha256:" + a, "sha256:" + b}, {"sha256:" + c}} {
		if !allIn(mounts, list) {
			t.Errorf("%v are mounted", list)
		}
	}
	if allIn(mounts, []string{"sha256:" + a, "sha256:" + strings.Repeat("d", 64)}) {
		t.Error("an image of which one layer is not mounted")
	}
}

// TestRemoveKeepsMountedImages: nobody says that it is in use, as after a restart or without a daemon; the kernel does.
func TestRemoveKeepsMountedImages(t *testing.T) {
	needRoot(t)
	r := newRegistry(t)
	s := openStore(t, t.TempDir())
	ctx := context.Background()
	r.pushImage("a", "v1", s.platform.Architecture, gzipLayer(t, file("s", "s")))
	img, err := s.Pull(ctx, r.host+"/a:v1", PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	at := t.TempDir()
	if err := unix.Mount(img.Layers[0], at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	for _, ref := range []string{img.ID, r.host + "/a:v1"} {
		if err := s.Remove(ctx, ref, nil); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if text := readLayer(t, img, 0, "s"); text != "s" {
		t.Errorf("the volume shows %q", text)
	}
	if err := unix.Unmount(at, 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(ctx, img.ID, nil); err != nil {
		t.Errorf("unmounted: %v", err)
	}
	if left, _ := filepath.Glob(s.layerRoot() + "/*"); len(left) != 0 {
		t.Errorf("layers are left: %v", left)
	}
}

func TestEndpointsWithoutScheme(t *testing.T) {
	for raw, want := range map[string]endpoint{
		"localhost:5000":         {host: "localhost:5000", root: "/v2", http: true, https: true},
		"127.0.0.1:5000/v2":      {host: "127.0.0.1:5000", root: "/v2", http: true, https: true},
		"[::1]:5000":             {host: "[::1]:5000", root: "/v2", http: true, https: true},
		"registry.lan:5000":      {host: "registry.lan:5000", root: "/v2", https: true},
		"https://localhost:5000": {host: "localhost:5000", root: "/v2", https: true},
		"http://localhost:5000":  {host: "localhost:5000", root: "/v2", http: true},
	} {
		if got, err := parseEndpoint(raw); err != nil || got != want {
			t.Errorf("%s: %+v, %v", raw, got, err)
		}
	}
}
