package apiserver

import (
	"net/url"
	"testing"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		method, url string
		want        path
	}{
		{"GET", "/api/v1/pods", path{resource: true, version: "v1", plural: "pods", verb: "list"}},
		{"GET", "/api/v1/pods?watch=true", path{resource: true, version: "v1", plural: "pods", verb: "watch"}},
		{"GET", "/api/v1/pods?watch=0", path{resource: true, version: "v1", plural: "pods", verb: "list"}},
		{"GET", "/api/v1/namespaces", path{resource: true, version: "v1", plural: "namespaces", verb: "list"}},
		{"GET", "/api/v1/namespaces/a", path{resource: true, version: "v1", plural: "namespaces", namespace: "a", name: "a", verb: "get"}},
		{"PUT", "/api/v1/namespaces/a/finalize", path{resource: true, version: "v1", plural: "namespaces", namespace: "a", name: "a", sub: "finalize", verb: "update"}},
		{"GET", "/api/v1/namespaces/a/pods/b/log", path{resource: true, version: "v1", namespacedInPath: true, namespace: "a", plural: "pods", name: "b", sub: "log", verb: "get"}},
		{"GET", "/api/v1/namespaces/a/pods/b:80/proxy/x/y", path{resource: true, version: "v1", namespacedInPath: true, namespace: "a", plural: "pods", name: "b:80", sub: "proxy", rest: "x/y", hasRest: true, verb: "get"}},
		{"DELETE", "/apis/apps/v1/namespaces/a/deployments", path{resource: true, group: "apps", version: "v1", namespacedInPath: true, namespace: "a", plural: "deployments", verb: "deletecollection"}},
		{"GET", "/apis/apps/v1/watch/namespaces/a/deployments/b", path{resource: true, group: "apps", version: "v1", watchPrefix: true, namespacedInPath: true, namespace: "a", plural: "deployments", name: "b", verb: "watch"}},
		{"GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dn", path{resource: true, version: "v1", plural: "nodes", verb: "list", fields: "metadata.name=n", selectedName: "n"}},
		{"GET", "/apis/apps/v1", path{}},
		{"GET", "/apis/apps", path{}},
		{"GET", "/api", path{}},
		{"GET", "/api/v1/", path{}},
		{"GET", "/healthz", path{}},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		p := parsePath(c.method, u.Path)
		p.refine(u.Query())
		if p != c.want {
			t.Errorf("%s %s:\n got %+v\nwant %+v", c.method, c.url, p, c.want)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add("/apis/a/v1/watch/namespaces/b/c/d/e/f")
	f.Fuzz(func(t *testing.T, text string) { p := parsePath("GET", text); p.refine(url.Values{"watch": {"1"}}) })
}

func TestSplitSchemeNamePort(t *testing.T) {
	for id, want := range map[string][4]string{
		"a": {"", "a", "", "ok"}, "a:80": {"", "a", "80", "ok"}, "https:a:x": {"https", "a", "x", "ok"}, "https:a:": {"https", "a", "", "ok"},
		"ftp:a:1": {"", "", "", ""}, "a:b:c:d": {"", "", "", ""}, "": {"", "", "", ""},
	} {
		scheme, name, port, ok := splitSchemeNamePort(id)
		got := [4]string{scheme, name, port}
		if ok {
			got[3] = "ok"
		} else {
			got = [4]string{}
		}
		if got != want {
			t.Errorf("%q: got %v", id, got)
		}
	}
}
