package store

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
)

// randomTree is JSON with many equal parts.
func randomTree(r *rand.Rand, depth int) any {
	switch n := r.IntN(8); {
	case depth == 0 || n < 3:
		return []any{"a", "b", int64(r.IntN(3)), true, nil, 0.5, "0"}[r.IntN(7)]
	case n < 6:
		m := map[string]any{}
		for range r.IntN(4) {
			m[fmt.Sprint("k", r.IntN(4))] = randomTree(r, depth-1)
		}
		return m
	default:
		l := []any{}
		for range r.IntN(3) {
			l = append(l, randomTree(r, depth-1))
		}
		return l
	}
}

func TestSharedTreesAreEqual(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s := trees{}
	var kept, want []any
	for range 20000 {
		v := map[string]any{"x": randomTree(r, 4)}
		want = append(want, runtime.DeepCopyJSONValue(v))
		got, _ := s.share(v)
		kept = append(kept, got)
	}
	for i := range kept {
		if !apiequality.Semantic.DeepEqual(kept[i], want[i]) {
			t.Fatalf("%v became %v", want[i], kept[i])
		}
	}
	if len(s.young) > sharedNodes || len(s.old) > sharedNodes || len(s.texts[0]) > sharedNodes {
		t.Error("too much is remembered")
	}
}

func TestSharedTreesAreShared(t *testing.T) {
	s := trees{}
	parse := func() any {
		var v map[string]any
		_ = json.Unmarshal([]byte(`{"a":{"b":["x",1,{"c":null}]}}`), &v)
		got, _ := s.share(v)
		return got
	}
	if !sameMember(parse(), parse()) {
		t.Error("two equal trees are two")
	}
}
