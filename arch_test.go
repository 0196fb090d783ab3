package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "codeberg.org/skiff/skiff"

// rule: packages below From must not import packages below any of Not, except those below Except.
type rule struct {
	From   string
	Not    []string
	Except []string
	Why    string
}

var rules = []rule{
	{From: module, Not: []string{"k8s.io/kubernetes"}, Why: "the orchestrator is ours; k8s.io/kubernetes is not a library"},
	{From: module, Not: []string{"k8s.io/apiserver/pkg/server", "k8s.io/apiserver/pkg/endpoints", "k8s.io/apiserver/pkg/registry", "k8s.io/apiserver/pkg/storage"}, Why: "the API server is ours"},
	{From: module + "/internal/wellknown", Not: []string{module}, Why: "names that all share depend on nobody"},
	{From: module + "/internal/config", Not: []string{module}, Why: "reading configuration depends on nobody"},

	{From: module + "/server/cel", Not: []string{module}, Except: []string{module + "/server/cel"}, Why: "a language depends on nobody who speaks it"},
	{From: module + "/server/api", Not: []string{module}, Except: []string{module + "/server/api", module + "/server/cel", module + "/internal"}, Why: "the catalogue says what a kind is and knows nothing of how it is stored or served"},
	{From: module + "/server/store", Not: []string{module}, Except: []string{module + "/server/store", module + "/server/api", module + "/internal"}, Why: "api ← store: the store knows kinds, not verbs"},
	{From: module + "/server/registry", Not: []string{module, "net/http"}, Except: []string{module + "/server/registry", module + "/server/store", module + "/server/api", module + "/server/cel", module + "/internal"}, Why: "the registry is the one way in and knows no HTTP"},
	{From: module + "/server/client", Not: []string{module}, Except: []string{module + "/server/client", module + "/server/registry", module + "/server/store", module + "/server/api", module + "/internal"}, Why: "registry ← client: the in-process client goes the way of every caller"},
	{From: module + "/server/controller", Not: []string{module + "/server/apiserver", module + "/server/scheduler", module + "/server/pki", module + "/agent", module + "/runtime", module + "/netproxy", "go.etcd.io/etcd"}, Why: "a controller is a client of the registry and of nothing else"},
	{From: module + "/server/scheduler", Not: []string{module + "/server/apiserver", module + "/server/controller", module + "/server/pki", module + "/agent", module + "/runtime", module + "/netproxy", "go.etcd.io/etcd"}, Why: "the scheduler is a client of the registry and of nothing else"},
	{From: module + "/server", Not: []string{module + "/agent", module + "/runtime", module + "/netproxy"}, Why: "main puts server and agent together; they meet only in the Kubernetes API"},
	{From: module + "/agent", Not: []string{module + "/server"}, Why: "a node talks to a server only through the Kubernetes API"},
	{From: module + "/netproxy", Not: []string{module + "/server", module + "/agent", module + "/runtime"}, Why: "netproxy turns Services into rules and needs nothing of the node around it"},
	{From: module + "/runtime", Not: []string{module + "/server", module + "/agent", module + "/netproxy", "k8s.io/api", "k8s.io/client-go"}, Why: "runtime knows containers, not Kubernetes"},
}

type pkg struct {
	ImportPath string
	Doc        string
	GoFiles    []string
	Imports    []string
}

// list returns every package of the project (not their tests).
func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-tags", "netgo osusergo seccomp", "-json=ImportPath,Doc,GoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func below(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

func belowAny(path string, roots []string) bool {
	for _, root := range roots {
		if below(path, root) {
			return true
		}
	}
	return false
}

func TestImportsPointOneWay(t *testing.T) {
	for _, p := range list(t) {
		for _, r := range rules {
			if !below(p.ImportPath, r.From) {
				continue
			}
			for _, imported := range p.Imports {
				if belowAny(imported, r.Not) && !belowAny(imported, r.Except) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imported, r.Why)
				}
			}
		}
	}
}

func TestNoControllerImportsAnother(t *testing.T) {
	root := module + "/server/controller"
	for _, p := range list(t) {
		if p.ImportPath == root || !below(p.ImportPath, root) {
			continue
		}
		own := root + "/" + strings.Split(strings.TrimPrefix(p.ImportPath, root+"/"), "/")[0]
		for _, imported := range p.Imports {
			// controller/table lists all; controller/podtemplate and the like hold what several share and reconcile nothing.
			if below(imported, root) && imported != root && !below(imported, own) && !below(imported, root+"/internal") && own != root+"/table" {
				t.Errorf("%s imports %s: controllers meet only in the API", p.ImportPath, imported)
			}
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}
