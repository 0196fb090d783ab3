package authn

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
)

func TestWebhookTokens(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		switch review.Spec.Token {
		case "ann":
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: review.Spec.Audiences, User: authenticationv1.UserInfo{Username: "ann", Groups: []string{"g"}}}
		case "nobody":
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: review.Spec.Audiences}
		case "broken":
			w.WriteHeader(http.StatusNotFound)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: %q}}]\ncontexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n", server.URL)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := NewWebhook(WebhookConfig{File: file, Version: "v1", TTL: time.Hour}, []string{"api"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			u, audiences, err := source.Token(ctx, "ann", nil)
			if err != nil || u.GetName() != "ann" || !slices.Equal(u.GetGroups(), []string{"g", "system:authenticated"}) || !slices.Equal(audiences, []string{"api"}) {
				t.Errorf("ann: %v, %v, %v", u, audiences, err)
			}
		})
	}
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times about one token", n)
	}
	for range 2 {
		if u, _, err := source.Token(ctx, "unknown", nil); u != nil || err != nil {
			t.Errorf("unknown: %v, %v", u, err)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times", n)
	}
	if _, audiences, _ := source.Token(ctx, "ann", []string{"other"}); !slices.Equal(audiences, []string{"other"}) || asked.Load() != 3 {
		t.Errorf("another audience: %v after %d questions", audiences, asked.Load())
	}
	for range 2 { // errors are not kept
		if u, _, err := source.Token(ctx, "broken", nil); u != nil || err == nil {
			t.Errorf("broken: %v, %v", u, err)
		}
	}
	if n := asked.Load(); n != 5 {
		t.Errorf("asked %d times", n)
	}
	if u, _, err := source.Token(ctx, "nobody", nil); u != nil || err == nil || !strings.Contains(err.Error(), "names no user") {
		t.Errorf("nobody: %v, %v", u, err)
	}
	if _, err := NewWebhook(WebhookConfig{File: file, Version: "v7"}, nil); err == nil {
		t.Error("version v7 is accepted")
	}
	if _, err := NewWebhook(WebhookConfig{File: "/no/such/file", Version: "v1"}, nil); err == nil {
		t.Error("a missing file is accepted")
	}
}
