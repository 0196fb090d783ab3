package snapshot

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestCrashAtEveryStep ends a store at every step of a snapshot's life, as a kill does; the next store must make, give back and remove it
// as if nothing had been, and leave nothing behind.
func TestCrashAtEveryStep(t *testing.T) {
	ctx := context.Background()
	type crash struct{ step string }
	for n := 0; ; n++ {
		s, img := setup(t, 2)
		passed, at := 0, ""
		s.reached = func(step string) {
			if passed == n {
				panic(crash{step})
			}
			passed++
		}
		func() {
			defer func() {
				if r := recover(); r != nil {
					c, ok := r.(crash)
					if !ok {
						panic(r)
					}
					at = c.step
				}
			}()
			rootfs, err := s.Prepare(ctx, "c", img, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(rootfs, "written"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := s.Remove(ctx, "c"); err != nil {
				t.Fatal(err)
			}
		}()
		if at == "" {
			if n < 7 {
				t.Errorf("only %d steps", n)
			}
			return
		}
		next, err := open(s.dir, s.images)
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		rootfs, err := next.Prepare(ctx, "c", img, nil)
		if err != nil {
			t.Fatalf("%s: %v", at, err)
		}
		if text, err := os.ReadFile(filepath.Join(rootfs, "last")); string(text) != "1" || err != nil {
			t.Errorf("%s: %q %v", at, text, err)
		}
		if err := next.Remove(ctx, "c"); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		if left, _ := filepath.Glob(filepath.Join(s.dir, "*c*")); len(left) > 0 {
			t.Errorf("%s: left behind: %v", at, left)
		}
	}
}
