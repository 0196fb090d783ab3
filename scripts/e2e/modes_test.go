package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayRead are what everybody on a node's host may list or read, by path below the node's folder. All else is root's: who walks in from outside as
// somebody else finds nothing.
var mayRead = []string{
	"etc",            // the test made it; the administrator's kubeconfig in it is checked below
	"etc/registries", // likewise
	"skiff.log",
	"log",
	"log/containers", // links by which log collectors find files that only root reads
}

// TestNothingIsForOthers: a user of the host reads no volume, no token, no key and no log, and connects to no socket, of a node that runs a pod with all of them.
func TestNothingIsForOthers(t *testing.T) {
	s := own(t)
	s.apply(`
apiVersion: v1
kind: Secret
metadata: {name: prize}
stringData: {key: value}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {key: value}
---
apiVersion: v1
kind: Pod
metadata: {name: holder}
spec:
  containers:
  - name: c
    image: example/busybox:1
    command: [sh, -c, "echo said; sleep 100000"]
    volumeMounts:
    - {name: secret, mountPath: /secret}
    - {name: settings, mountPath: /settings}
    - {name: scratch, mountPath: /scratch}
    - {name: memory, mountPath: /memory}
  volumes:
  - {name: secret, secret: {secretName: prize}}
  - {name: settings, configMap: {name: settings}}
  - {name: scratch, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory}}
`)
	s.ready("holder")
	root := s.node.Dir()
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	walkAsOther(t, root, root, seen)
	for _, want := range []string{"lib", "run", "log", "lib/agent", "lib/server", "run/pods"} {
		if !seen[want] {
			t.Errorf("the walk did not come by %s", want)
		}
	}
	if st, err := os.Stat(s.node.Kubeconfig()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the administrator's kubeconfig: %v, %v", st.Mode(), err)
	}
}

// walkAsOther goes where somebody who is neither root nor in its group may go. In a folder that may be passed but not listed it tries every name: that of a pod is no secret.
func walkAsOther(t *testing.T, root, dir string, seen map[string]bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // it went meanwhile
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		rel, _ := filepath.Rel(root, path)
		seen[rel] = true
		st, err := os.Lstat(path)
		if err != nil || st.Mode()&fs.ModeSymlink != 0 {
			continue
		}
		others := st.Mode().Perm() & 0o007
		switch {
		case slices.Contains(mayRead, rel) || strings.HasPrefix(rel, "etc/"):
		case strings.HasPrefix(rel, "lib/agent/snapshots/"):
			continue // behind a folder that cannot be listed, by random names; the files of images and containers, with their own modes
		case st.IsDir() && others&0o006 != 0, st.Mode().IsRegular() && others != 0, st.Mode()&fs.ModeSocket != 0 && others&0o002 != 0:
			t.Errorf("%s has mode %v: others may use it", rel, st.Mode())
		}
		if st.IsDir() && others&0o001 != 0 {
			walkAsOther(t, root, path, seen)
		}
	}
}
