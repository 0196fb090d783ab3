package openapi

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"codeberg.org/skiff/skiff/server/api"
)

// TestDump writes all documents below $OPENAPI_DUMP, for comparing them with others' (upstream keeps its own in
// api/openapi-spec).
func TestDump(t *testing.T) {
	dir := os.Getenv("OPENAPI_DUMP")
	if dir == "" {
		t.Skip("OPENAPI_DUMP is not set")
	}
	c, err := api.NewCatalogue(api.BuiltIn())
	if err != nil {
		t.Fatal(err)
	}
	d := New(c, "v1.37.2")
	paths := []string{pathV2}
	for _, gv := range groupVersions(c.Kinds()) {
		paths = append(paths, pathV3+"/"+pathOf(gv))
	}
	for _, path := range paths {
		doc, ok, err := d.Get(path, httptest.NewRequest("GET", path, nil))
		if err != nil || !ok {
			t.Fatalf("%s: %v %v", path, ok, err)
		}
		name := strings.ReplaceAll(strings.Trim(strings.TrimPrefix(path, "/openapi/"), "/"), "/", "_")
		if err := os.WriteFile(filepath.Join(dir, name+".json"), doc.Body, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
