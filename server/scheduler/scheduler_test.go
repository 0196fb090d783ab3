package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/store"
	"codeberg.org/skiff/skiff/server/store/storetest"
)

// cluster under test: a real store, and a writer that writes into it what the API would.
type rig struct {
	testing.TB
	store       *store.Store
	pods, nodes *api.Kind
	scheduler   *Scheduler

	mu     sync.Mutex
	events []string
	// failBind, when set, is asked before each binding.
	failBind func(pod *corev1.Pod) error
}

func newRig(t testing.TB) *rig {
	pods, nodes := storetest.Pods(), storetest.Nodes()
	cfg := storetest.Config(t, pods, nodes)
	r := &rig{TB: t, pods: pods, nodes: nodes}
	r.store, _ = storetest.Start(t, cfg)
	c := client.New(nil, r.store, cfg.Catalogue, nil, &user.DefaultInfo{Name: "test"})
	r.scheduler = newScheduler(Config{Client: c, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now}, r)
	return r
}

func (r *rig) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.scheduler.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.Error(err)
		}
	})
	r.Cleanup(stop)
	return stop
}

func (r *rig) node(name, cpu string) {
	r.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	node.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("64Gi"), "pods": resource.MustParse("110")}
	if _, err := r.store.Create(context.Background(), r.nodes, node); err != nil {
		r.Fatal(err)
	}
}

func newPod(name, cpu string, priority int32) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Name: "c", Image: "i",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("64Mi")}}}}}}
}

func (r *rig) pod(name, cpu string, priority int32) {
	if _, err := r.store.Create(context.Background(), r.pods, newPod(name, cpu, priority)); err != nil {
		r.Error(err)
	}
}

func (r *rig) delete(k *api.Kind, namespace, name string) {
	if _, err := r.store.Delete(context.Background(), k, namespace, name, 0); err != nil {
		r.Error(err)
	}
}

// mutate changes the stored pod.
func (r *rig) mutate(pod *corev1.Pod, change func(*corev1.Pod)) error {
	for {
		current, _ := r.store.Snapshot().Get(r.pods, pod.Namespace, pod.Name).(*corev1.Pod)
		if current == nil || current.UID != pod.UID {
			return errors.New("gone")
		}
		next := current.DeepCopy()
		change(next)
		rev, _ := strconv.ParseInt(current.ResourceVersion, 10, 64)
		if _, err := r.store.Update(context.Background(), r.pods, next, rev); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func (r *rig) bind(_ context.Context, pod *corev1.Pod, node string) error {
	if r.failBind != nil {
		if err := r.failBind(pod); err != nil {
			return err
		}
	}
	return r.mutate(pod, func(p *corev1.Pod) { p.Spec.NodeName = node })
}

func (r *rig) refuse(_ context.Context, pod *corev1.Pod, message, nominate string) error {
	return r.mutate(pod, func(p *corev1.Pod) {
		if p.Spec.NodeName != "" {
			return
		}
		p.Status.NominatedNodeName = nominate
		setCondition(p, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message}, time.Now())
	})
}

func (r *rig) evict(_ context.Context, victim *corev1.Pod) error {
	_, err := r.store.Delete(context.Background(), r.pods, victim.Namespace, victim.Name, 0)
	return err
}

func (r *rig) event(pod *corev1.Pod, kind, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf("%s %s %s: %s", pod.Name, kind, reason, message))
}

// until waits until a pod is as wanted.
func (r *rig) until(name, what string, ok func(*corev1.Pod) bool) {
	r.Helper()
	w, err := r.store.Watch(context.Background(), store.WatchOptions{})
	if err != nil {
		r.Fatal(err)
	}
	defer w.Stop()
	deadline := time.After(time.Minute)
	for {
		pod, _ := r.store.Snapshot().Get(r.pods, "default", name).(*corev1.Pod)
		if pod != nil && ok(pod) {
			return
		}
		select {
		case <-w.Events():
		case <-deadline:
			r.Fatalf("pod %s is not %s: %v", name, what, pod)
		}
	}
}

func on(node string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p.Spec.NodeName == node }
}

func refused(p *corev1.Pod) bool {
	return len(p.Status.Conditions) == 1 && p.Status.Conditions[0].Status == corev1.ConditionFalse
}

func TestPlacesAndExplains(t *testing.T) {
	r := newRig(t)
	r.pod("early", "1", 0)
	r.run()
	r.until("early", "refused", refused)
	r.node("a", "2")
	r.until("early", "on a", on("a"))
	r.pod("large", "2", 0)
	r.until("large", "refused", refused)
	r.node("b", "4")
	r.until("large", "on b", on("b"))
	r.pod("waits", "2", 0)
	r.until("waits", "on b", on("b"))
	r.pod("last", "2", 0)
	r.until("last", "refused", refused)
	r.delete(r.pods, "default", "large")
	r.until("last", "on b", on("b"))

	r.mu.Lock()
	defer r.mu.Unlock()
	for _, want := range []string{
		"early Warning FailedScheduling: no nodes available to schedule pods",
		"early Normal Scheduled: Successfully assigned default/early to a",
		"large Warning FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.",
	} {
		if !slices.Contains(r.events, want) {
			t.Errorf("no event %q in\n%s", want, strings.Join(r.events, "\n"))
		}
	}
}

func TestPreempts(t *testing.T) {
	r := newRig(t)
	r.node("a", "2")
	r.pod("low", "2", 0)
	r.run()
	r.until("low", "on a", on("a"))
	r.pod("high", "2", 100)
	r.until("high", "on a", on("a"))
	if r.store.Snapshot().Get(r.pods, "default", "low") != nil {
		t.Error("the victim is still there")
	}
}

// TestBindingFails: a pod whose binding fails is tried again, and its room is not lost meanwhile.
func TestBindingFails(t *testing.T) {
	r := newRig(t)
	r.node("a", "2")
	failures := 3
	r.failBind = func(*corev1.Pod) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if failures == 0 {
			return nil
		}
		failures--
		return errors.New("no")
	}
	r.run()
	r.pod("p", "2", 0)
	r.until("p", "on a", on("a"))
	r.delete(r.pods, "default", "p")
	r.pod("q", "2", 0)
	r.until("q", "on a", on("a"))
}

// TestNeverOverbooks: pods come and go while nodes fill; no node ever holds more than it can.
func TestNeverOverbooks(t *testing.T) {
	r := newRig(t)
	for i := range 5 {
		r.node(fmt.Sprint("n", i), "4")
	}
	stop := r.run()
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 40 {
				r.pod(fmt.Sprint(worker, "-", i), "1", 0)
				if i%2 == 1 {
					r.delete(r.pods, "default", fmt.Sprint(worker, "-", i-1))
				}
			}
		})
	}
	all.Wait()
	deadline := time.Now().Add(10 * time.Second)
	placed := 0
	for placed != 20 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
		placed = 0
		for obj := range r.store.Snapshot().List(r.pods, "", "") {
			if obj.(*corev1.Pod).Spec.NodeName != "" {
				placed++
			}
		}
	}
	stop()
	used := map[string]int{}
	for obj := range r.store.Snapshot().List(r.pods, "", "") {
		used[obj.(*corev1.Pod).Spec.NodeName]++
	}
	for i := range 5 {
		if n := used[fmt.Sprint("n", i)]; n != 4 {
			t.Errorf("n%d has %d pods, want 4", i, n)
		}
	}
}

// BenchmarkDecide: one pod, 200 nodes with 10 pods each.
func BenchmarkDecide(b *testing.B) {
	for _, owned := range []bool{false, true} {
		b.Run(fmt.Sprintf("owned=%v", owned), func(b *testing.B) {
			cl := newCluster()
			for i := range 200 {
				node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i), Labels: map[string]string{corev1.LabelHostname: fmt.Sprint("n", i)}}}
				node.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse("64"), "memory": resource.MustParse("64Gi"), "pods": resource.MustParse("110")}
				cl.setNode(node)
				for j := range 10 {
					cl.place(newPodInfo(newPod(fmt.Sprint(i, "-", j), "100m", 0)), node.Name, false)
				}
			}
			pod := newPod("p", "100m", 0)
			if owned {
				yes := true
				pod.OwnerReferences = []metav1.OwnerReference{{UID: "o", Controller: &yes}}
			}
			p := newPodInfo(pod)
			b.ReportAllocs()
			start := 0
			for b.Loop() {
				d := decide(cl, p, start)
				start = (start + d.looked) % 200
			}
		})
	}
}

// BenchmarkSchedule: 2,000 pods onto 200 nodes, from the first created to the last bound, through a real store.
func BenchmarkSchedule(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		r := newRig(b)
		for i := range 200 {
			r.node(fmt.Sprint("n", i), "64")
		}
		stop := r.run()
		w, err := r.store.Watch(context.Background(), store.WatchOptions{Kinds: []*api.Kind{r.pods}, Buffer: 100_000})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		for worker := range 8 {
			go func() {
				for i := range 250 {
					r.pod(fmt.Sprint(worker, "-", i), "100m", 0)
				}
			}()
		}
		for bound := 0; bound < 2000; {
			for _, e := range <-w.Events() {
				if e.Type == store.Modified && e.Old.(*corev1.Pod).Spec.NodeName == "" && e.Object.(*corev1.Pod).Spec.NodeName != "" {
					bound++
				}
			}
		}
		b.StopTimer()
		w.Stop()
		stop()
		b.StartTimer()
	}
	b.ReportMetric(2000*float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}
