package aggregation

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"codeberg.org/skiff/skiff/server/apiserver/discovery"
	"codeberg.org/skiff/skiff/server/apiserver/openapi"
	"codeberg.org/skiff/skiff/server/client"
)

// publish shows in discovery what the other servers said last. One that does not answer is shown as stale, so that
// clients know that something is missing.
func (l *loop) publish(snap client.Snapshot, t table) {
	var list []discovery.Foreign
	for _, b := range t.sorted() {
		f := discovery.Foreign{GroupVersion: b.gv, VersionPriority: b.versionPriority, Stale: true}
		if s := l.states[b.name]; s != nil {
			f.Resources, f.Stale = s.last.resources, !s.answered
		}
		list = append(list, f)
	}
	shown := l.shown.Load()
	changed := shown == nil || !reflect.DeepEqual(list, *shown)
	if changed {
		l.shown.Store(&list)
	}
	if l.discovery == nil {
		return
	}
	if changed {
		l.discovery.SetForeign(list)
	}
	priorities := map[schema.GroupVersion]discovery.Priority{}
	for svc := range client.List[*apiregistrationv1.APIService](snap, "") {
		priorities[gvOf(svc)] = discovery.Priority{Group: svc.Spec.GroupPriorityMinimum, Version: svc.Spec.VersionPriority}
	}
	if !maps.Equal(priorities, l.priorities) {
		l.priorities = priorities
		l.discovery.SetPriorities(priorities)
	}
}

// publishOpenAPI shows the documents of a server, without what is not its own to describe.
func (l *loop) publishOpenAPI(a answer) {
	if l.openapi == nil {
		return
	}
	version, group, _ := strings.Cut(a.name, ".")
	path := "apis/" + group + "/" + version
	f := openapi.Foreign{V2: onlyBelow(a.v2, "/"+path+"/")}
	if json.Valid(a.v3) {
		f.V3 = map[string][]byte{path: a.v3}
	}
	l.openapi.SetForeign(a.name, f)
}

// onlyBelow keeps the paths of a v2 document that are below one; nil for what is no such document.
func onlyBelow(doc []byte, prefix string) []byte {
	var parts struct {
		Definitions map[string]json.RawMessage `json:"definitions"`
		Paths       map[string]json.RawMessage `json:"paths"`
	}
	if json.Unmarshal(doc, &parts) != nil {
		return nil
	}
	for path := range parts.Paths {
		if !strings.HasPrefix(path, prefix) {
			delete(parts.Paths, path)
		}
	}
	out, err := json.Marshal(parts)
	if err != nil {
		return nil
	}
	return out
}
