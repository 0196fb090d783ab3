package apiserver_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

// A watch from a revision that is gone or not yet there begins, and ends with the error as its only event, as clients expect.
func TestWatchFromImpossibleRevision(t *testing.T) {
	e := newEnv(t)
	if err := e.store.Compact(context.Background(), e.store.Snapshot().Revision()); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{"1": `"reason":"Expired"`, "99999999": `"ResourceVersionTooLarge"`} {
		w := e.do("GET", "/api/v1/pods?watch=1&resourceVersion="+at, "")
		if body := w.Body.String(); w.Code != http.StatusOK || !strings.HasPrefix(body, `{"type":"ERROR"`) || !strings.Contains(body, want) {
			t.Errorf("from %s: %d %s", at, w.Code, body)
		}
	}
}

func TestDeprecatedVersionWarns(t *testing.T) {
	e := newEnv(t)
	w := e.do("GET", "/api/v1/endpoints", "")
	if got := w.Header().Get("Warning"); !strings.HasPrefix(got, `299 - "v1 Endpoints is deprecated`) {
		t.Errorf("%d %q", w.Code, got)
	}
}

func TestOpenAPIAddresses(t *testing.T) {
	e := newEnv(t)
	w := e.do("GET", "/openapi/v3/apis/apps/v1?hash=old", "")
	if w.Code != http.StatusMovedPermanently {
		t.Fatalf("%d", w.Code)
	}
	w = e.do("GET", w.Header().Get("Location"), "")
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "public, immutable" || w.Header().Get("Expires") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w = e.do("GET", "/openapi/v2", "", "Accept: text/html"); w.Code != http.StatusNotAcceptable {
		t.Errorf("a page was asked for: %d", w.Code)
	}
}

// What is answered to a review has no columns.
func TestReviewIsNoTable(t *testing.T) {
	e := newEnv(t)
	w := e.do("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`,
		"Content-Type: application/json", "Accept: application/json;as=Table;v=v1;g=meta.k8s.io")
	if w.Code != http.StatusNotAcceptable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
