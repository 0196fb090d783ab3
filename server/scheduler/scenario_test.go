package scheduler

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"golang.org/x/tools/txtar"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

var update = flag.Bool("update", false, "write what is decided into the scenarios")

// TestScenarios reads testdata/*.txtar: objects in cluster.yaml, and in want the decisions on its pending pods, one after
// the other, each with the ones before it carried out. Files named 1.yaml, 2.yaml … come after that, each followed by the
// decisions on the pods that it makes ready.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { scenario(t, file) })
	}
}

func scenario(t *testing.T, file string) {
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, state: state{cluster: newCluster(), backlog: newBacklog()}, now: time.Unix(1_000_000, 0), known: map[string]api.Object{}}
	var got strings.Builder
	want := -1
	for i, f := range ar.Files {
		if f.Name == "want" {
			want = i
			continue
		}
		if f.Name != "cluster.yaml" {
			fmt.Fprintf(&got, "# %s\n", f.Name)
		}
		w.read(string(f.Data))
		w.decideAll(&got)
	}
	if want < 0 {
		ar.Files = append(ar.Files, txtar.File{Name: "want"})
		want = len(ar.Files) - 1
	}
	if *update {
		ar.Files[want].Data = []byte(got.String())
		if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != string(ar.Files[want].Data) {
		t.Errorf("decided\n%s\nwant\n%s", got.String(), ar.Files[want].Data)
	}
}

// world is a cluster in which decisions come true at once.
type world struct {
	*testing.T
	state
	now   time.Time
	start int
	known map[string]api.Object
}

// read takes objects over, as the watch would tell of them. An object with metadata.deletionGracePeriodSeconds: 0 is
// deleted.
func (w *world) read(docs string) {
	w.Helper()
	var changed change
	for _, doc := range strings.Split(docs, "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		obj := w.parse(doc)
		key := fmt.Sprintf("%T %s/%s", obj, obj.GetNamespace(), obj.GetName())
		old := w.known[key]
		kind := store.Added
		if old != nil {
			kind = store.Modified
		}
		if grace := obj.GetDeletionGracePeriodSeconds(); grace != nil && *grace == 0 {
			kind, obj = store.Deleted, old
			delete(w.known, key)
		} else {
			w.known[key] = obj
		}
		changed |= w.observe(kind, obj, old)
	}
	w.now = w.now.Add(time.Minute)
	w.backlog.wake(changed, w.now)
}

func (w *world) parse(doc string) api.Object {
	w.Helper()
	var head metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
		w.Fatal(err)
	}
	obj, ok := map[string]api.Object{"Pod": &corev1.Pod{}, "Node": &corev1.Node{}, "Namespace": &corev1.Namespace{}, "Service": &corev1.Service{},
		"PodDisruptionBudget": &policyv1.PodDisruptionBudget{}, "PersistentVolume": &corev1.PersistentVolume{},
		"PersistentVolumeClaim": &corev1.PersistentVolumeClaim{}, "StorageClass": &storagev1.StorageClass{}, "CSINode": &storagev1.CSINode{}, "CSIDriver": &storagev1.CSIDriver{},
		"VolumeAttachment": &storagev1.VolumeAttachment{}, "ResourceClaim": &resourcev1.ResourceClaim{}}[head.Kind]
	if !ok {
		w.Fatalf("unknown kind in %s", doc)
	}
	if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
		w.Fatal(err)
	}
	w.fillIn(obj)
	return obj
}

// fillIn sets what every real object has and a scenario need not say.
func (w *world) fillIn(obj api.Object) {
	switch o := obj.(type) {
	case *corev1.Pod:
		if o.Namespace == "" {
			o.Namespace = "default"
		}
		if o.UID == "" {
			o.UID = types.UID("uid-" + o.Name)
		}
		if o.Spec.SchedulerName == "" {
			o.Spec.SchedulerName = corev1.DefaultSchedulerName
		}
	case *corev1.Node:
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels[corev1.LabelHostname] = o.Name
		if o.Status.Allocatable == nil {
			o.Status.Allocatable = corev1.ResourceList{}
		}
		for name, amount := range map[corev1.ResourceName]string{"cpu": "4", "memory": "8Gi", "pods": "110"} {
			if _, ok := o.Status.Allocatable[name]; !ok {
				o.Status.Allocatable[name] = *amountOf(amount)
			}
		}
	case *corev1.Service, *policyv1.PodDisruptionBudget, *corev1.PersistentVolumeClaim, *resourcev1.ResourceClaim:
		if obj.GetNamespace() == "" {
			obj.SetNamespace("default")
		}
	}
}

func (w *world) decideAll(out *strings.Builder) {
	for p := w.backlog.next(w.now); p != nil; p = w.backlog.next(w.now) {
		d := decide(w.cluster, p, w.start)
		fmt.Fprintln(out, d)
		if again := decide(w.cluster, p, w.start); again.String() != d.String() {
			w.Errorf("the same question was answered by\n%s\nand by\n%s", d, again)
		}
		w.start = (w.start + d.looked) % max(1, len(w.cluster.nodes))
		if d.node != "" {
			w.cluster.nominate(p, "")
			w.cluster.place(p, d.node, true)
			continue
		}
		w.backlog.wait(p.key, d.wakes)
		w.cluster.nominate(p, d.nominate)
		for _, v := range d.victims {
			w.cluster.evicting[v.key] = v.UID
		}
	}
	w.checkBooks()
}

// checkBooks holds the cluster's sums to what they are sums of.
func (w *world) checkBooks() {
	for _, n := range w.cluster.byName {
		fresh := newNodeInfo(n.name)
		for _, p := range n.pods {
			fresh.add(p)
			if w.cluster.placed[p.key].node != n {
				w.Errorf("%s is on %s and is placed elsewhere", p.key, n.name)
			}
		}
		if fmt.Sprint(fresh.requested, fresh.scored, fresh.ports, fresh.owners, fresh.withAffinity, fresh.withAntiNeeds) !=
			fmt.Sprint(n.requested, n.scored, n.ports, n.owners, n.withAffinity, n.withAntiNeeds) {
			w.Errorf("the sums of %s are wrong", n.name)
		}
	}
	if !slices.IsSortedFunc(w.cluster.nodes, func(a, b *nodeInfo) int { return strings.Compare(a.name, b.name) }) {
		w.Error("the nodes are not in order")
	}
}

func amountOf(s string) *resource.Quantity { q := resource.MustParse(s); return &q }
