package apiserver_test

import (
	"fmt"
	"strings"
	"testing"
)

// A list that is asked for again, whose encodings are kept from before, reads as the first one did, also when objects changed meanwhile.
func TestListsReadTheSameAgain(t *testing.T) {
	e := newEnv(t)
	const count = 150
	for i := range count {
		e.create(t, benchPod(i))
	}
	for _, header := range []string{"Accept: application/json", "Accept: application/yaml", "Accept: application/vnd.kubernetes.protobuf",
		"Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"} {
		for _, path := range []string{"/api/v1/pods", "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1&allowWatchBookmarks=true"} {
			if strings.Contains(path, "watch") && strings.Contains(header, "yaml") {
				continue
			}
			var first string
			for i := range 3 {
				got := e.do("GET", path, "", header).Body.String()
				if i == 0 {
					first = got
				}
				if got != first || len(got) < count*100 {
					t.Errorf("%s %s: answer %d is another one: %d bytes of %d", header, path, i, len(got), len(first))
				}
			}
		}
	}
	pod := "/api/v1/namespaces/default/pods/" + benchPod(7).Name
	for i := range 3 {
		mark := fmt.Sprintf("mark-%d", i)
		if w := e.do("PATCH", pod, `{"metadata":{"labels":{"again":"`+mark+`"}}}`, "Content-Type: application/merge-patch+json"); w.Code != 200 {
			t.Fatal(w.Body)
		}
		if got := e.do("GET", "/api/v1/pods", "", "Accept: application/json").Body.String(); strings.Count(got, mark) != 1 {
			t.Errorf("%s is there %d times", mark, strings.Count(got, mark))
		}
	}
}
