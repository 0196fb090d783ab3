package join

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/store"
)

func TestHash(t *testing.T) {
	h, err := newHash("a long password")
	if err != nil {
		t.Fatal(err)
	}
	if !checkHash(h, "a long password") || checkHash(h, "another") || strings.Contains(h, "long") {
		t.Error(h)
	}
	for _, bad := range []string{"", "v1", "v1::", "v2:" + h[3:], h + ":x"} {
		if checkHash(bad, "a long password") || checkHash(bad, "") {
			t.Errorf("%q passes", bad)
		}
	}
	if same("", "") != 0 || same("x", "") != 0 || same("x", "x") != 1 {
		t.Error("same")
	}
}

// TestSecretRecords keeps passwords in a real store.
func TestSecretRecords(t *testing.T) {
	c := realClient(t)
	ctx := context.Background()
	if _, err := c.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}}); err != nil {
		t.Fatal(err)
	}
	p := SecretRecords{c}
	get := func(want string) {
		t.Helper()
		if got, err := p.Get(ctx, "n1"); got.Hash != want || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	get("")
	for _, step := range []struct {
		old, hash string
		fails     bool
	}{{"", "h1", false}, {"", "h2", true}, {"h1", "h3", false}, {"h1", "h4", true}} {
		if err := p.Put(ctx, "n1", Record{Hash: step.old}, Record{Hash: step.hash}); (err != nil) != step.fails {
			t.Errorf("%+v: %v", step, err)
		}
	}
	get("h3")
}

func realClient(t *testing.T) *client.Client {
	t.Helper()
	catalogue, err := api.NewCatalogue(api.BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	s, err := store.New(store.Config{Dir: t.TempDir(), Catalogue: catalogue, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	select {
	case <-s.Ready():
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	r, err := registry.New(registry.Config{Catalogue: catalogue, Store: s, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return client.New(r, s, catalogue, nil, &user.DefaultInfo{Name: "test"})
}
