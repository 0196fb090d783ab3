package store_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
	"codeberg.org/skiff/skiff/server/store/storetest"
)

// stormDir, when set in the environment, makes the test binary the victim of TestKill.
const stormDir = "SKIFF_TEST_STORM_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(stormDir); dir != "" {
		if err := storm(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// storm writes for ever, and prints every write once it was acknowledged.
func storm(dir string) error {
	kind := storetest.ConfigMaps()
	catalogue, err := api.NewCatalogue([]*api.Kind{kind})
	if err != nil {
		return err
	}
	s, err := store.New(store.Config{Dir: dir, Catalogue: catalogue, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	ctx := context.Background()
	go s.Run(ctx)
	<-s.Ready()
	var out sync.Mutex
	var all sync.WaitGroup
	for worker := range stormWorkers {
		all.Go(func() {
			for n := 0; ; n++ {
				value, err := gust(ctx, s, kind, key(worker, n), n)
				if err != nil {
					panic(err)
				}
				out.Lock()
				fmt.Println(worker, n, value)
				out.Unlock()
			}
		})
	}
	all.Wait()
	return nil
}

const (
	stormWorkers = 8
	gone         = "gone"
)

func key(worker, n int) string { return fmt.Sprintf("%d-%d", worker, n%50) }

// gust does one write and returns the value that the key then has.
func gust(ctx context.Context, s *store.Store, kind *api.Kind, name string, n int) (string, error) {
	value := fmt.Sprint(n)
	old := s.Snapshot().Get(kind, "a", name)
	switch {
	case old == nil:
		_, err := s.Create(ctx, kind, storetest.ConfigMap("a", name, value))
		return value, err
	case n%7 == 0:
		_, err := s.Delete(ctx, kind, "a", name, 0)
		return gone, err
	}
	var rev int64
	fmt.Sscan(old.GetResourceVersion(), &rev)
	_, err := s.Update(ctx, kind, storetest.ConfigMap("a", name, value), rev)
	return value, err
}

// TestKill kills a process that writes as fast as it can, five times over the same data, and then looks for every write
// that it had acknowledged.
func TestKill(t *testing.T) {
	cfg := storetest.Config(t, storetest.ConfigMaps())
	kind := cfg.Catalogue.Kinds()[0]
	var a acknowledged
	for round := range 5 {
		a.watch(t, cfg.Dir, time.Duration(200+100*round)*time.Millisecond)
	}
	if a.writes < 100 {
		t.Fatalf("only %d writes were acknowledged", a.writes)
	}
	s, stop := storetest.Start(t, cfg)
	defer stop()
	for name, want := range a.state {
		got := gone
		if cm, ok := s.Snapshot().Get(kind, "a", name).(*corev1.ConfigMap); ok {
			got = cm.Data["value"]
		}
		if got != want && !a.open[name] {
			t.Errorf("%s: %q was acknowledged, found %q", name, want, got)
		}
	}
	t.Logf("%d acknowledged writes, %d of %d keys had another under way", a.writes, len(a.open), len(a.state))
}

// acknowledged is what a storm said: the last state of each key, and the keys for which one more write may have been
// done but not said.
type acknowledged struct {
	state  map[string]string
	open   map[string]bool
	writes int
}

func (a *acknowledged) watch(t *testing.T, dir string, life time.Duration) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), stormDir+"="+dir)
	child.Stderr = t.Output()
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { child.Process.Kill() }
	defer time.AfterFunc(time.Minute, kill).Stop() // one that never writes
	began := false
	if a.state == nil {
		a.state, a.open = map[string]string{}, map[string]bool{}
	}
	last := map[int]int{}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var worker, n int
		var value string
		if found, _ := fmt.Sscan(lines.Text(), &worker, &n, &value); found == 3 {
			a.state[key(worker, n)] = value
			delete(a.open, key(worker, n))
			last[worker] = n
			a.writes++
			if !began { // a busy machine takes a while to start it
				began = true
				time.AfterFunc(life, kill)
			}
		}
	}
	_ = child.Wait()
	for worker := range stormWorkers {
		if n, ok := last[worker]; ok {
			a.open[key(worker, n+1)] = true
		} else {
			a.open[key(worker, 0)] = true
		}
	}
}
