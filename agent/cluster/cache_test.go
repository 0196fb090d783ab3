package cluster

import (
	"context"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
)

func TestCacheFollowsTheServer(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "ns", Name: name, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}
	}
	client := fake.NewClientset(
		&corev1.Service{ObjectMeta: meta("web")},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}},
	)
	c := New(client, nil)
	told := make(chan types.NamespacedName, 100)
	stop := c.OnServices(func(key types.NamespacedName) { told <- key })
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	select {
	case <-c.Synced():
	case <-time.After(time.Minute):
		t.Fatal("not synced")
	}
	web := types.NamespacedName{Namespace: "ns", Name: "web"}
	if got := <-told; got != web {
		t.Fatalf("told of %v", got)
	}
	if svc, slices := c.Service(web); svc == nil || svc.ManagedFields != nil || len(slices) != 0 {
		t.Fatalf("got %v %v", svc, slices)
	}
	if !c.HasNamespace("ns") || c.HasNamespace("other") || len(c.Nodes()) != 1 || c.Node("a") == nil {
		t.Fatal("namespaces or nodes are wrong")
	}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: meta("web-1")}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
	slices := client.DiscoveryV1().EndpointSlices("ns")
	slice, err := slices.Create(ctx, slice, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	<-told
	if _, got := c.Service(web); len(got) != 1 {
		t.Fatalf("slices: %v", got)
	}
	slice = slice.DeepCopy()
	slice.Labels[discoveryv1.LabelServiceName] = "other"
	if _, err = slices.Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if a, b := <-told, <-told; a != web || b.Name != "other" {
		t.Fatalf("told of %v, %v", a, b)
	}
	if _, got := c.Service(web); len(got) != 0 {
		t.Fatalf("slices after the label changed: %v", got)
	}
	stop()
	if err := client.CoreV1().Services("ns").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for svc, _ := c.Service(web); svc != nil; svc, _ = c.Service(web) {
		time.Sleep(time.Millisecond)
	}
	if len(told) != 0 {
		t.Fatal("told after stop")
	}
	cancel()
	wg.Wait()
}

func TestANewListTellsOfWhatDiffers(t *testing.T) {
	c := New(nil, nil)
	var told []string
	c.OnServices(func(key types.NamespacedName) { told = append(told, key.Name) })
	table := newTable(c.setService, c.deleteService)
	table.onFirstList(func() {})
	service := func(name, version string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version}}
	}
	table.Replace([]any{service("a", "1"), service("b", "2"), service("c", "3")}, "3")
	told = nil
	table.Replace([]any{service("a", "1"), service("b", "5")}, "6")
	if len(told) != 2 || told[0] != "b" || told[1] != "c" || len(c.ServiceKeys()) != 2 {
		t.Fatalf("told of %v, have %v", told, c.ServiceKeys())
	}
	if err := table.Update(&corev1.Node{}); err == nil {
		t.Fatal("a Node in a table of Services")
	}
}
