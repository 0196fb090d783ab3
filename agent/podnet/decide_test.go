package podnet

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/internal/iptables"
	"codeberg.org/skiff/skiff/internal/wellknown"
)

var update = flag.Bool("update", false, "rewrite the expected parts of testdata")

// TestOverlayScenarios: "nodes" has a line "name vtep cidr,cidr" for each node; "before" is what the kernel knew.
func TestOverlayScenarios(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txtar")
	if len(files) == 0 {
		t.Fatal("no scenarios")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			cluster := prefixes("10.42.0.0/16", "fd42::/48")
			var have []entry
			for i, part := range ar.Files {
				if !strings.HasPrefix(part.Name, "nodes") {
					continue
				}
				peers, problems := peersOf(parseNodes(t, string(part.Data)), "self", cluster)
				plan := decideOverlay(entriesOf(peers), have)
				var b strings.Builder
				for _, p := range problems {
					fmt.Fprintln(&b, "problem:", p)
				}
				for _, e := range plan.remove {
					fmt.Fprintln(&b, "-", e)
				}
				for _, e := range plan.add {
					fmt.Fprintln(&b, "+", e)
				}
				have = entriesOf(peers)
				if again := decideOverlay(entriesOf(peers), have); !again.empty() {
					t.Errorf("a second decision is not empty: %v", again)
				}
				if *update {
					ar.Files[i+1].Data = []byte(b.String())
				} else if got, want := b.String(), string(ar.Files[i+1].Data); got != want {
					t.Errorf("%s:\n%s\nwant:\n%s", part.Name, got, want)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func parseNodes(t *testing.T, text string) (nodes []*corev1.Node) {
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(line)
		if len(f) != 3 {
			t.Fatalf("node line %q", line)
		}
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f[0], Annotations: map[string]string{wellknown.AnnotationVTEP: strings.Trim(f[1], "-")}}}
		if f[2] != "-" {
			node.Spec.PodCIDRs = strings.Split(f[2], ",")
		}
		nodes = append(nodes, node)
	}
	return nodes
}

func TestRules(t *testing.T) {
	got := rules(prefixes("10.42.0.0/16", "fd42::/48"), prefixes("10.43.0.0/16", "fd43::/112"), iptables.IPv4, "skiff.vxlan").Text()
	const want = `*filter
:SKIFF-NET-FORWARD - [0:0]
-A SKIFF-NET-FORWARD -m mark --mark 0x8000/0x8000 -j RETURN
-A SKIFF-NET-FORWARD -d 10.43.0.0/16 -j RETURN
-A SKIFF-NET-FORWARD -s 10.42.0.0/16 -j ACCEPT
-A SKIFF-NET-FORWARD -d 10.42.0.0/16 -j ACCEPT
-I FORWARD 1 -j SKIFF-NET-FORWARD
COMMIT
*nat
:SKIFF-NET-POSTROUTING - [0:0]
-A SKIFF-NET-POSTROUTING ! -s 10.42.0.0/16 -d 10.42.0.0/16 -o skiff.vxlan -j MASQUERADE --random-fully
-A SKIFF-NET-POSTROUTING -s 10.42.0.0/16 -d 10.42.0.0/16 -j RETURN
-A SKIFF-NET-POSTROUTING -s 10.42.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
-I POSTROUTING 1 -j SKIFF-NET-POSTROUTING
COMMIT
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzParseVTEP(f *testing.F) {
	f.Add("02:00:00:00:00:01/192.0.2.1")
	f.Add("//")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseVTEP(text)
		if err != nil {
			return
		}
		again, err := parseVTEP(v.String())
		if err != nil || again.String() != v.String() || v.underlay == (netip.Addr{}) {
			t.Fatalf("%q became %q, which became %q, %v", text, v, again, err)
		}
	})
}
