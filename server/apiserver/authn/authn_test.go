package authn_test

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/authn"
	"codeberg.org/skiff/skiff/server/pki"
	"codeberg.org/skiff/skiff/server/store"
)

func startStore(t *testing.T, catalogue *api.Catalogue) *store.Store {
	t.Helper()
	s, err := store.New(store.Config{Dir: t.TempDir(), Catalogue: catalogue, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	<-s.Ready()
	return s
}

func TestServiceAccountTokensEndWithWhatTheyAreBoundTo(t *testing.T) {
	catalogue, err := api.NewCatalogue(api.BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	s := startStore(t, catalogue)
	clock := time.Now()
	now := func() time.Time { return clock }
	issuer, err := pki.LoadTokenIssuer(t.TempDir(), "https://issuer", "https://api", now)
	if err != nil {
		t.Fatal(err)
	}
	put := func(obj api.Object) *api.Kind {
		kind := catalogue.ByObject(obj)
		if _, err := s.Create(context.Background(), kind, obj); err != nil {
			t.Fatal(err)
		}
		return kind
	}
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)}
	}
	put(&corev1.ServiceAccount{ObjectMeta: meta("sa")})
	pods := put(&corev1.Pod{ObjectMeta: meta("p")})
	token, _, err := issuer.Issue(pki.TokenClaims{Namespace: "ns", ServiceAccount: "sa", UID: "uid-sa", Expires: clock.Add(time.Hour),
		BoundKind: "Pod", BoundName: "p", BoundUID: "uid-p", NodeName: "n1", NodeUID: "uid-n1"})
	if err != nil {
		t.Fatal(err)
	}
	accounts := authn.NewServiceAccounts(issuer, catalogue, s.Snapshot, now)
	ask := func() (string, error) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		u, err := authn.Bearers{accounts}.Authenticate(r)
		if err != nil {
			return "", err
		}
		if got := u.GetExtra()["authentication.kubernetes.io/pod-name"]; len(got) != 1 || got[0] != "p" {
			t.Errorf("extra %v", u.GetExtra())
		}
		return u.GetName(), nil
	}
	for range 2 { // verified, then remembered
		if name, err := ask(); err != nil || name != "system:serviceaccount:ns:sa" {
			t.Fatalf("%q %v", name, err)
		}
	}
	if _, good, err := accounts.Token(context.Background(), token, []string{"https://api", "other"}); err != nil || len(good) != 1 || good[0] != "https://api" {
		t.Errorf("audiences %v %v", good, err)
	}
	if _, _, err := accounts.Token(context.Background(), token, []string{"other"}); err == nil {
		t.Error("good for another audience")
	}
	if _, err := s.Delete(context.Background(), pods, "ns", "p", 0); err != nil {
		t.Fatal(err)
	}
	if name, err := ask(); err == nil {
		t.Errorf("%s outlived its pod", name)
	}
	put(&corev1.Pod{ObjectMeta: meta("p")})
	clock = clock.Add(2 * time.Hour)
	if name, err := ask(); err == nil {
		t.Errorf("%s outlived its token", name)
	}
}
