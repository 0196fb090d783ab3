package registry

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"codeberg.org/skiff/skiff/server/api"
)

func TestContinueRoundTrip(t *testing.T) {
	for _, p := range []position{{1, "a"}, {inconsistent, "ns/name"}, {1 << 60, "a.b-c"}} {
		if got, err := decodeContinue(p.encode()); err != nil || got != p {
			t.Errorf("%+v became %+v, %v", p, got, err)
		}
	}
}

func FuzzDecodeContinue(f *testing.F) {
	f.Add(position{5, "default/a"}.encode())
	f.Add("e30")
	f.Fuzz(func(t *testing.T, token string) {
		p, err := decodeContinue(token)
		if err != nil {
			return
		}
		if strings.Contains("/"+p.after+"/", "/../") || p.revision == 0 || p.after == "" {
			t.Errorf("%q was taken as %+v", token, p)
		}
		if again, err := decodeContinue(p.encode()); err != nil || again != p {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
	})
}

// The selector agrees with apimachinery's own matching, whatever the selectors are.
func FuzzSelector(f *testing.F) {
	f.Add("app=web", "spec.nodeName=n1,metadata.name!=x")
	f.Add("a in (b,c),!d", "metadata.namespace=default")
	kind := &api.Kind{Versions: []api.Version{{Version: "v1"}}, Kind: "Pod", Plural: "pods", Namespaced: true, FieldNames: []string{"spec.nodeName"},
		Fields:  func(o api.Object) fields.Set { return fields.Set{"spec.nodeName": o.(*corev1.Pod).Spec.NodeName} },
		Indexes: []api.Index{{Name: "spec.nodeName"}}}
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace, pod.Labels, pod.Spec.NodeName = "x", "default", map[string]string{"app": "web", "a": "b"}, "n1"
	set := fields.Set{"spec.nodeName": "n1", "metadata.name": "x", "metadata.namespace": "default"}
	f.Fuzz(func(t *testing.T, byLabel, byField string) {
		l, err := labels.Parse(byLabel)
		if err != nil {
			return
		}
		fs, err := fields.ParseSelector(byField)
		if err != nil {
			return
		}
		s, err := newSelector(Request{Kind: kind}, l, fs)
		if err != nil {
			return
		}
		if got, want := s.matches(pod), l.Matches(labels.Set(pod.Labels)) && fs.Matches(set); got != want {
			t.Errorf("%q %q: %v, want %v", byLabel, byField, got, want)
		}
	})
}
