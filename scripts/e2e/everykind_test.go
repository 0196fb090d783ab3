package e2e

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/api/samples"
)

// TestEveryKind runs what people do with kubectl against an object of every kind: 32 commands each, with the kubectl that $KUBECTL
// names, or our own. It takes minutes, so `make every-kind` asks for it.
func TestEveryKind(t *testing.T) {
	if os.Getenv("SKIFF_EVERY_KIND") == "" {
		t.Skip("make every-kind runs it")
	}
	s := own(t)
	all, err := samples.All()
	if err != nil {
		t.Fatal(err)
	}
	version, err := s.stock("", "version")
	t.Logf("%s %v", version, err)
	for _, k := range api.BuiltIn() {
		if body, ok := all[k.GVK()]; ok {
			t.Run(k.Plural+"."+cmp.Or(k.Group, "core"), func(t *testing.T) { (&tour{T: t, space: s, kind: k, sample: body}).run() })
		}
	}
}

// stock runs the kubectl under test, in the namespace default (the sample of Events is about an object there).
func (s *space) stock(stdin string, args ...string) (string, error) {
	program := []string{executable, "kubectl"}
	if other := os.Getenv("KUBECTL"); other != "" {
		program = []string{other}
	}
	args = slices.Concat(program[1:], []string{"--kubeconfig", s.node.Kubeconfig()}, args)
	return s.node.RunInput(patience, stdin, program[0], args...)
}

type tour struct {
	*testing.T
	space  *space
	kind   *api.Kind
	sample []byte
}

// step is a command that must succeed, with these texts in its output. No argument has a blank in it.
type step struct {
	args  string
	stdin string
	texts []string
}

func (c *tour) run() {
	var sent metav1.PartialObjectMetadata
	if err := json.Unmarshal(c.sample, &sent); err != nil {
		c.Fatal(err)
	}
	resource, name := c.kind.GVR().GroupResource().String(), sent.Name
	object, manifest, row := resource+"/"+name, c.manifest(), name
	if c.kind.Kind == "Event" {
		row = "pod/x" // its table begins with what it is about
	}

	c.steps(step{"explain " + resource, "", []string{"KIND:", c.kind.Kind, "VERSION:", c.kind.Versions[0].Version}},
		step{"explain --recursive " + resource + ".metadata", "", []string{"managedFields"}},
		step{"create --dry-run=server -o name -f -", manifest, []string{name}},
		step{"create --dry-run=client -o yaml -f -", manifest, []string{"kind: " + c.kind.Kind}},
		step{"auth can-i delete " + resource, "", []string{"yes"}})
	if c.Failed() {
		return
	}
	c.step(step{"create -f -", manifest, []string{name + " created"}})
	c.steps(
		step{"get " + object, "", []string{row}},
		step{"get -o wide " + object, "", []string{name}},
		step{"get -o yaml " + object, "", []string{"kind: " + c.kind.Kind, "uid: "}},
		step{"get -o json --show-managed-fields " + object, "", []string{`"kind": "` + c.kind.Kind}},
		step{"get -o name " + resource, "", []string{"/" + name}},
		step{"get -o jsonpath={.metadata.name} " + object, "", []string{name}},
		step{"get -o custom-columns=N:.metadata.name,K:.kind " + object, "", []string{name, c.kind.Kind}},
		step{"get --show-labels --show-kind --sort-by=.metadata.name " + resource, "", []string{row, "LABELS"}},
		step{"get --field-selector=metadata.name=" + name + " " + resource, "", []string{row}},
		step{"get --chunk-size=1 -o name " + resource, "", []string{"/" + name}},
		step{"get -o name -f -", manifest, []string{name}},
		step{"describe " + object, "", []string{name}},
		step{"wait --timeout=30s --for=jsonpath={.metadata.name}=" + name + " " + object, "", []string{"condition met"}})
	c.step(step{"apply -f -", manifest, []string{name + " configured"}})
	c.step(step{"apply -f -", manifest, []string{name}}) // unchanged, unless the manifest leaves out what lists without merge keys default
	c.step(step{"label " + object + " tour=a", "", []string{"labeled"}})
	c.step(step{"annotate " + object + " tour=b", "", []string{"annotated"}})
	for _, how := range []string{"merge", "strategic"} {
		c.step(step{fmt.Sprintf(`patch %s --type %s -p {"metadata":{"labels":{%q:"yes"}}}`, object, how, how), "", []string{"patched"}})
	}
	c.step(step{"patch " + object + ` --type json -p [{"op":"add","path":"/metadata/labels/json","value":"yes"}]`, "", []string{"patched"}})
	c.step(step{"get -o name -l merge=yes,strategic=yes,json=yes,tour=a " + resource, "", []string{"/" + name}})
	c.step(step{"apply --server-side --force-conflicts -f -", manifest, []string{"serverside-applied"}})
	c.step(step{"apply view-last-applied " + object, "", []string{name}})
	c.diff(manifest)
	c.space.eventually("replace of "+object, func() error { // others may write in between
		have, err := c.space.stock("", "get", "-o", "yaml", object)
		if err == nil {
			have, err = c.space.stock(strings.Replace(have, `json: "yes"`, "json: replaced", 1), "replace", "-f", "-")
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, have)
		}
		return nil
	})
	c.step(step{"delete --wait=false " + object, "", []string{"deleted"}})
}

// manifest is the sample as people write it.
func (c *tour) manifest() string {
	text, err := yaml.JSONToYAML(c.sample)
	if err != nil {
		c.Fatal(err)
	}
	return string(text)
}

// diff finds no difference (exit 0) or shows one (exit 1); anything else is an error.
func (c *tour) diff(manifest string) {
	out, err := c.space.stock(manifest, "diff", "-f", "-")
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		c.Errorf("diff: %v: %s", err, out)
	}
}

// steps runs several commands at once.
func (c *tour) steps(all ...step) {
	var wg sync.WaitGroup
	for _, st := range all {
		wg.Go(func() { c.step(st) })
	}
	wg.Wait()
}

func (c *tour) step(st step) (string, bool) {
	out, err := c.space.stock(st.stdin, strings.Fields(st.args)...)
	if err != nil {
		c.Errorf("kubectl %s: %v: %s", st.args, err, out)
		return out, false
	}
	for _, text := range st.texts {
		if !strings.Contains(out, text) {
			c.Errorf("kubectl %s: no %q in\n%s", st.args, text, out)
			return out, false
		}
	}
	return out, true
}
