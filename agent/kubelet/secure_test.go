package kubelet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/image"
)

// TestUser: who a container runs as, by what the pod and the image say. The primary group is always among the groups, and the
// status says what is true.
func TestUser(t *testing.T) {
	lower, upper := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		lower + "/usr/lib/passwd": "root:x:0:0::/:\nweb:x:101:102::/:\n",
		lower + "/etc/group":      "web:x:102:\nlogs:x:7:web\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(upper+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/lib/passwd", upper+"/etc/passwd"); err != nil { // a link into the lower layer
		t.Fatal(err)
	}
	id := func(n int64) *int64 { return &n }
	strict := corev1.SupplementalGroupsPolicyStrict
	for name, c := range map[string]struct {
		image string
		pod   corev1.PodSecurityContext
		sc    corev1.SecurityContext
		want  string // uid gid [groups], or the error
	}{
		"nobody says":             {want: "0 0 [0]"},
		"a name":                  {image: "web", want: "101 102 [102 7]"},
		"a number":                {image: "101", want: "101 102 [102 7]"},
		"an unknown number":       {image: "55", want: "55 0 [0]"},
		"with a group":            {image: "web:logs", want: "101 7 [7]"},
		"an unknown name":         {image: "none", want: "unable to find user none"},
		"an unknown group":        {image: "web:none", want: "unable to find group none"},
		"runAsUser":               {image: "web:logs", sc: corev1.SecurityContext{RunAsUser: id(101)}, want: "101 102 [102 7]"},
		"runAsUser and group":     {sc: corev1.SecurityContext{RunAsUser: id(1000), RunAsGroup: id(1000)}, want: "1000 1000 [1000]"},
		"supplementary and their": {pod: corev1.PodSecurityContext{RunAsUser: id(101), SupplementalGroups: []int64{9, 102}, FSGroup: id(11)}, want: "101 102 [102 7 9 11]"},
		"strict": {pod: corev1.PodSecurityContext{RunAsUser: id(101), SupplementalGroups: []int64{9}, SupplementalGroupsPolicy: &strict},
			want: "101 102 [102 9]"},
	} {
		var spec container.ContainerSpec
		err := user(&spec, &corev1.Pod{}, &corev1.Container{}, &c.sc, &c.pod, &image.Image{User: c.image, Layers: []string{lower, upper}})
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v; want %s", name, err, c.want)
			}
			continue
		}
		if got := fmt.Sprint(spec.UID, spec.GID, spec.Groups); got != c.want {
			t.Errorf("%s: %s; want %s", name, got, c.want)
		}
		if d := detail(spec); len(d.Groups) != len(spec.Groups) {
			t.Errorf("%s: the status says groups %v, the process has %v", name, d.Groups, spec.Groups)
		}
	}
}
