package encrypt_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
	"codeberg.org/skiff/skiff/server/store/encrypt"
)

// In the environment they make the test binary the victim: it rotates in a folder and kills itself after a step, or,
// when the step is a duration, that long after the beginning.
const (
	victimDir  = "SKIFF_TEST_ENCRYPT_DIR"
	victimStep = "SKIFF_TEST_ENCRYPT_STEP"
)

const count = 40

const corruptKey = "/registry/secrets/a/corrupt"

func TestMain(m *testing.M) {
	dir := os.Getenv(victimDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	step := os.Getenv(victimStep)
	die := func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }
	wait, err := time.ParseDuration(step)
	byTime := err == nil
	armed := false
	r, s, stop, err := open(dir, func(at encrypt.Step) {
		if armed = armed || at == encrypt.StepAdded; armed && string(at) == step {
			die()
		}
	})
	if err == nil && byTime {
		time.AfterFunc(wait, die)
	}
	if err == nil {
		_, err = r.Rotate(context.Background(), s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	stop()
}

func kind() *api.Kind {
	for _, k := range api.BuiltIn() {
		if k.Plural == "secrets" {
			return k
		}
	}
	panic("no secrets")
}

func open(dir string, after func(encrypt.Step)) (*encrypt.Rotator, *store.Store, func(), error) {
	write := func(path string, data []byte, mode os.FileMode) error {
		tmp := path + ".new"
		if err := os.WriteFile(tmp, data, mode); err != nil {
			return err
		}
		return os.Rename(tmp, path)
	}
	r, err := encrypt.New(encrypt.Config{File: &encrypt.File{Path: filepath.Join(dir, "encryption.json"), Write: write}, After: after})
	if err != nil {
		return nil, nil, nil, err
	}
	catalogue, err := api.NewCatalogue([]*api.Kind{secrets})
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := store.New(store.Config{Dir: filepath.Join(dir, "etcd"), Catalogue: catalogue, Transformer: corrupting{r.Live(), corruptKey}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-s.Ready():
		return r, s, func() { cancel(); <-ended }, nil
	case err := <-ended:
		cancel()
		return nil, nil, nil, err
	}
}

// secrets is the one kind of these tests' catalogues.
var secrets = kind()

// corrupting writes rubbish under one etcd key.
type corrupting struct {
	*encrypt.Live
	key string
}

func (c corrupting) Seal(gr schema.GroupResource, key string, plain []byte) ([]byte, error) {
	if key == c.key {
		return []byte("k8s:enc:aesgcm:v1:skiff-1-00000000:rubbish, and more of it"), nil
	}
	return c.Live.Seal(gr, key, plain)
}

func secret(n int) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: fmt.Sprint("s", n)}, Data: map[string][]byte{"k": []byte(fmt.Sprint("value-", n))}}
}

// TestKilledWhileRotating: a process that is killed at any instant of a rotation leaves data that the next one reads whole,
// and the next one's Resume leaves one key.
func TestKilledWhileRotating(t *testing.T) {
	dir := t.TempDir()
	r, s, stop, err := open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range count {
		if _, err := s.Create(context.Background(), secrets, secret(n)); err != nil {
			t.Fatal(err)
		}
	}
	before, err := r.Status(context.Background(), s)
	if err != nil || before.Values["aesgcm "+before.Key] != count {
		t.Fatalf("%+v %v", before, err)
	}
	stop()
	for _, step := range []string{"added", "promoted", "rewriting", "2ms", "10ms", "25ms", "rewritten", "dropped"} {
		victim := exec.Command(os.Args[0])
		victim.Env = append(os.Environ(), victimDir+"="+dir, victimStep+"="+step)
		out, err := victim.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
			t.Fatalf("%s: %v\n%s", step, err, out)
		}
		r, s, stop, err := open(dir, nil)
		if err != nil {
			t.Fatalf("after %s: %v", step, err)
		}
		check := func(when string) {
			t.Helper()
			for n := range count {
				want := secret(n)
				got, ok := s.Snapshot().Get(secrets, "a", want.Name).(*corev1.Secret)
				if !ok || string(got.Data["k"]) != string(want.Data["k"]) {
					t.Fatalf("%s %s: %s is %v (%v)", when, step, want.Name, got, s.Snapshot().Unreadable(secrets, "a", want.Name))
				}
			}
		}
		check("killed at")
		if _, err := r.Resume(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		check("resumed after")
		status, err := r.Status(context.Background(), s)
		if err != nil || len(status.Older) != 0 || len(status.Values) != 1 || status.Values["aesgcm "+status.Key] != count {
			t.Fatalf("after %s: %+v %v", step, status, err)
		}
		stop()
	}
}

// TestACorruptValueIsReportedAndHarmsNoOther also holds that values from before there were keys are read, and that a watch
// over a time whose key is forgotten begins anew.
func TestACorruptValueIsReportedAndHarmsNoOther(t *testing.T) {
	dir := t.TempDir()
	r, s, stop, err := open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if _, err := r.Disable(ctx, s); err != nil {
		t.Fatal(err)
	}
	k := secrets
	if _, err := s.Create(ctx, k, secret(0)); err != nil {
		t.Fatal(err)
	}
	from := s.Snapshot().Revision()
	if _, err := r.Enable(ctx, s); err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 3; n++ {
		if _, err := s.Create(ctx, k, secret(n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Rotate(ctx, s); err != nil {
		t.Fatal(err)
	}
	corrupt := secret(3)
	corrupt.Name = "corrupt"
	if _, err := s.Create(ctx, k, corrupt); err != nil {
		t.Fatal(err)
	}
	look := func(s *store.Store, k *api.Kind) {
		t.Helper()
		snap := s.Snapshot()
		if err := snap.Unreadable(k, "a", "corrupt"); err == nil || !strings.Contains(err.Error(), `unable to transform key "/registry/secrets/a/corrupt"`) {
			t.Errorf("%v", err)
		}
		if snap.Get(k, "a", "corrupt") != nil || snap.Count(k, "a") != 3 || snap.UnreadableCount(k, "a") != 1 || snap.UnreadableCount(k, "b") != 0 {
			t.Error("the corrupt one is not apart from the others")
		}
	}
	look(s, k)
	stop()
	r, s, stop, err = open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	look(s, k)
	if done, err := r.Resume(ctx, s); err != nil || done.Unreadable != 1 {
		t.Errorf("%+v %v", done, err)
	}
	w, err := s.Watch(ctx, store.WatchOptions{Kinds: []*api.Kind{k}, From: from})
	if !errors.Is(err, store.ErrCompacted) {
		t.Errorf("a watch over values whose key is gone: %v %v", w, err)
	}
	if _, err := s.Delete(ctx, k, "a", "corrupt", 0); err != nil || s.Snapshot().Unreadable(k, "a", "corrupt") != nil {
		t.Errorf("it cannot be deleted: %v", err)
	}
}
