package image

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func needRoot(t testing.TB) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: layers have owners, devices and trusted attributes")
	}
}

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir, Registries: filepath.Join(dir, "registries.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestImportConformanceImages imports the images of the conformance suite, if they are on this machine.
func TestImportConformanceImages(t *testing.T) {
	needRoot(t)
	home, _ := os.UserHomeDir()
	tars, _ := filepath.Glob(filepath.Join(home, ".cache/k8s-conformance/images/*.tar"))
	if len(tars) == 0 {
		t.Skip("no conformance images on this machine")
	}
	s := openStore(t, t.TempDir())
	for _, name := range tars {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		images, err := s.Import(context.Background(), f)
		f.Close()
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(name), err)
			continue
		}
		for _, i := range images {
			t.Logf("%s in %v: %v %d layers, %d MB, %v", filepath.Base(name), time.Since(start), i.Names, len(i.Layers), i.Size>>20, i.Digests)
			if s.Get(i.Names[0]) != i || s.Get(i.ID) == nil || s.Get(i.Digests[0]) == nil {
				t.Errorf("%s is not found by its names", i.Names[0])
			}
		}
	}
}
