package cel_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/cel"
)

func input() cel.Input {
	dry := true
	return cel.Input{
		Object: &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "p"},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}},
		Request:   &admissionv1.AdmissionRequest{Name: "p", Operation: "CREATE", DryRun: &dry},
		Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n", OwnerReferences: []metav1.OwnerReference{{Name: "o"}}}},
	}
}

func TestVariablesAreLazyAndComputedOnce(t *testing.T) {
	c, err := cel.NewPolicyCompiler(cel.New)
	if err != nil {
		t.Fatal(err)
	}
	c.Variable("broken", "int(object.metadata.name)", cel.Options{})
	c.Variable("heavy", "[1,2,3,4,5,6,7,8,9,10].map(a, [1,2,3,4,5,6,7,8,9,10].map(b, a*b))", cel.Options{})
	c.Variable("name", "object.metadata.name", cel.Options{})
	c.Variable("both", "variables.name + '!' + namespaceObject.metadata.name", cel.Options{})
	e := c.NewEvaluation(input())
	ask := func(text string) (any, error) {
		p := c.Compile(text, cel.Options{}, cel.Any)
		if p.Err() != nil {
			t.Fatal(p.Err())
		}
		out, err := e.Run(context.Background(), p, cel.PolicyBudget())
		if err != nil {
			return nil, err
		}
		return out.Value(), nil
	}
	if got, err := ask("variables.both + request.operation"); err != nil || got != "p!nCREATE" {
		t.Errorf("%v %v", got, err)
	}
	if _, err := ask("variables.broken == 1"); err == nil || !strings.Contains(err.Error(), `composited variable "broken" fails to evaluate`) {
		t.Error(err)
	}
	cost := func() (n int) {
		b := cel.MatchConditionsBudget()
		p := c.Compile("variables.heavy.size() == 10", cel.Options{}, cel.Bool)
		for ; ; n++ {
			if _, err := e.Run(context.Background(), p, b); err != nil {
				if !errors.Is(err, cel.ErrBudget) {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	if n := cost(); n < 10_000 {
		t.Errorf("a variable that is known costs again: %d evaluations", n)
	}
}

func TestMatch(t *testing.T) {
	c := cel.NewCompiler(cel.New)
	condition := func(text string) cel.Condition {
		return cel.Condition{Name: text, Program: c.Compile(text, cel.Options{}, cel.Bool)}
	}
	bad, yes, no := condition("object.spec.nothing == 1"), condition("request.dryRun"), condition("object.kind != 'Pod'")
	for _, tc := range []struct {
		conditions []cel.Condition
		want       bool
		fails      bool
	}{
		{nil, true, false}, {[]cel.Condition{yes}, true, false}, {[]cel.Condition{yes, no}, false, false},
		{[]cel.Condition{bad, no}, false, false}, {[]cel.Condition{bad, yes}, false, true},
	} {
		got, err := cel.Match(context.Background(), c.NewEvaluation(input()), tc.conditions)
		if got != tc.want || (err != nil) != tc.fails {
			t.Errorf("%v: %v %v", tc.conditions, got, err)
		}
	}
}

func TestContextStopsEvaluation(t *testing.T) {
	c := cel.NewCompiler(cel.New)
	list := "[1,2,3,4,5,6,7,8,9,10]"
	p := c.Compile(list+".all(a, "+list+".all(b, "+list+".all(c, "+list+".all(d, a+b+c+d > 0))))", cel.Options{}, cel.Bool)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.NewEvaluation(input()).Run(ctx, p, cel.PolicyBudget()); err == nil {
		t.Error("was not stopped")
	}
}

// FuzzExpression: what compiles can be evaluated, and both end.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"object.metadata.name == 'x'", "request.userInfo.groups.exists(g, g == 'a')", "[1].map(x, x+1)", "variables.v ? 1 : 2", "object.spec.containers.all(c, c.name.matches('a*'))",
		"Object{spec: Object.spec{}}", "[JSONPatch{op: 'a'}]", "quantity('1Gi').isGreaterThan(quantity('1'))", "namespaceObject.metadata.labels['a']", "'%s'.format([object])"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := cel.NewPolicyCompiler(cel.New)
		if err != nil {
			t.Fatal(err)
		}
		c.Variable("v", "true", cel.Options{})
		p := c.Compile(text, cel.Options{Params: true, Patch: true}, cel.Any)
		if p.Err() != nil {
			return
		}
		out, err := c.NewEvaluation(input()).Run(context.Background(), p, cel.PolicyBudget())
		if err == nil && types.IsError(out) {
			t.Errorf("%q resulted in the error %v", text, out)
		}
	})
}
