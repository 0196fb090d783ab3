package scheduler_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/action"
	"codeberg.org/skiff/skiff/server/registry/registrytest"
	"codeberg.org/skiff/skiff/server/scheduler"
	"codeberg.org/skiff/skiff/server/store"
)

// cluster is the scheduler over the real registry, with the whole catalogue.
type cluster struct {
	testing.TB
	*registrytest.Env
	client *client.Client
}

func start(t testing.TB) *cluster {
	env := registrytest.Start(t, registrytest.Options{Kinds: api.BuiltIn(),
		Actions: func(*registrytest.Env) []registry.Action { return action.Table(action.Config{}) }})
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	c := client.New(env.Registry, env.Store, env.Catalogue, nil, &user.DefaultInfo{Name: "tester"})
	recorder := client.NewRecorder(c, time.Now, log)
	c = c.WithRecorder(recorder)
	s, err := scheduler.New(scheduler.Config{Client: c, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { s.Run(ctx) })
	all.Go(func() { recorder.Run(ctx) })
	t.Cleanup(func() { cancel(); all.Wait() })
	out := &cluster{t, env, c}
	out.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	return out
}

func (c *cluster) create(obj api.Object) {
	c.Helper()
	if _, err := c.client.Create(context.Background(), obj); err != nil {
		c.Error(err)
	}
}

func (c *cluster) node(name, cpu string) {
	c.Helper()
	c.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}})
	_, err := c.client.Mutate(context.Background(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, "status", func(obj api.Object) error {
		obj.(*corev1.Node).Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("64Gi"), "pods": resource.MustParse("110")}
		return nil
	})
	if err != nil {
		c.Fatal(err)
	}
}

func pod(name, cpu string, priority int32) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Name: "c", Image: "i",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("64Mi")}}}}}}
}

// until waits for a snapshot that is as wanted.
func (c *cluster) until(what string, ok func(client.Snapshot) bool) {
	c.Helper()
	w, err := c.client.Watch(context.Background(), store.WatchOptions{})
	if err != nil {
		c.Fatal(err)
	}
	defer w.Stop()
	deadline := time.After(time.Minute)
	for !ok(c.client.Snapshot()) {
		select {
		case <-w.Events():
		case <-deadline:
			c.Fatalf("waited in vain for: %s", what)
		}
	}
}

func (c *cluster) untilPod(name, what string, ok func(*corev1.Pod) bool) {
	c.Helper()
	c.until(name+" "+what, func(s client.Snapshot) bool {
		pod, found := client.Get[*corev1.Pod](s, "default", name)
		return found && ok(pod)
	})
}

func scheduled(pod *corev1.Pod) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodScheduled {
			return &pod.Status.Conditions[i]
		}
	}
	return &corev1.PodCondition{}
}

func TestThroughTheAPI(t *testing.T) {
	c := start(t)
	c.node("a", "2")
	c.create(pod("low", "1500m", 0))
	c.untilPod("low", "is bound", func(p *corev1.Pod) bool {
		return p.Spec.NodeName == "a" && scheduled(p).Status == corev1.ConditionTrue
	})
	c.create(pod("same", "1", 0))
	message := "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
	c.untilPod("same", "is refused", func(p *corev1.Pod) bool {
		s := scheduled(p)
		return s.Status == corev1.ConditionFalse && s.Reason == "Unschedulable" && s.Message == message
	})
	for _, want := range []string{"Scheduled: Successfully assigned default/low to a", "FailedScheduling: " + message} {
		c.until(want, func(s client.Snapshot) bool {
			for e := range client.List[*corev1.Event](s, "default") {
				if e.Reason+": "+e.Message == want && e.Source.Component == "default-scheduler" {
					return true
				}
			}
			return false
		})
	}
	// The kubelet would end the victim; here somebody has to.
	c.create(pod("high", "2", 100))
	c.untilPod("low", "is a victim", func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil && strings.Contains(fmt.Sprint(p.Status.Conditions), "PreemptionByScheduler")
	})
	c.untilPod("high", "is nominated", func(p *corev1.Pod) bool { return p.Status.NominatedNodeName == "a" })
	zero := int64(0)
	if err := c.client.Delete(context.Background(), pod("low", "1", 0), metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	c.untilPod("high", "is bound", func(p *corev1.Pod) bool { return p.Spec.NodeName == "a" })
}

// BenchmarkAPI: 2,000 pods onto 200 nodes through the registry, events included; the time and CPU of one pod are those of
// creating, deciding, binding and telling.
func BenchmarkAPI(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		c := start(b)
		for i := range 200 {
			c.node(fmt.Sprint("n", i), "64")
		}
		w, err := c.client.Watch(context.Background(), store.WatchOptions{Kinds: []*api.Kind{c.Catalogue.ByObject(&corev1.Pod{})}, Buffer: 100_000})
		if err != nil {
			b.Fatal(err)
		}
		before := cpu()
		b.StartTimer()
		for worker := range 8 {
			go func() {
				for i := range 250 {
					c.create(pod(fmt.Sprint(worker, "-", i), "100m", 0))
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
		b.ReportMetric((cpu()-before).Seconds()*1000/2000, "CPU-ms/pod")
		w.Stop()
		b.StartTimer()
	}
	b.ReportMetric(2000*float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
