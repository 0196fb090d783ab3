package plan

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the plans in testdata")

// TestDecide plays the scenarios of testdata. Each has a pod.yaml and pairs of <step>.have and <step>.plan; the first line
// of a .have may be "# now: <RFC 3339>".
func TestDecide(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txtar"), func(t *testing.T) { play(t, f) })
	}
}

func play(t *testing.T, path string) {
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	var got Plan
	for i := range a.Files {
		f := &a.Files[i]
		switch {
		case strings.HasSuffix(f.Name, "pod.yaml"):
			pod = &corev1.Pod{}
			if err := yaml.UnmarshalStrict(f.Data, pod); err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
		case strings.HasSuffix(f.Name, ".have"):
			have := Have{LastSandboxAttempt: -1, StartTime: now}
			if err := yaml.UnmarshalStrict(f.Data, &have); err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			at := now
			if line, ok := strings.CutPrefix(string(f.Data), "# now: "); ok {
				line, _, _ = strings.Cut(line, "\n")
				if at, err = time.Parse(time.RFC3339, line); err != nil {
					t.Fatal(err)
				}
			}
			got = Decide(pod, have, at)
		case strings.HasSuffix(f.Name, ".plan"):
			if *update {
				f.Data = []byte(got.String())
			} else if string(f.Data) != got.String() {
				t.Errorf("%s:\ngot:\n%swant:\n%s", f.Name, got, f.Data)
			}
		}
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
