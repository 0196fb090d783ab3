package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const schedulerMethod = `A server without an agent; 200 Node objects that say they are Ready, each for 110 pods; 16 workers create 2,000 pods with requests (protobuf): from the first
create until a watch has shown the last of them bound. CPU is the server's, with the creation of the pods.`

const (
	hollowNodes = 200
	hollowPods  = 2000
)

func measureScheduler(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if _, err := b.start(ctx); err != nil {
		return err
	}
	client, err := b.protobuf()
	if err != nil {
		return err
	}
	if err := each(hollowNodes, 8, func(i int) error {
		n, err := client.CoreV1().Nodes().Create(ctx, hollowNode(i), metav1.CreateOptions{})
		if err != nil {
			return err
		}
		n.Status = hollowNode(i).Status
		_, err = client.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{})
		return err
	}); err != nil {
		return err
	}
	if err := b.poll(ctx, 50*time.Millisecond, func() error { return b.untainted(ctx) }); err != nil {
		return err
	}
	bound := make(chan error, 1)
	w, err := client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	go func() { bound <- allBound(w) }()
	cpu, began := b.cpu(), time.Now()
	if err := each(hollowPods, 16, func(i int) error {
		p := pausePod(fmt.Sprintf("p-%d", i))
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("100Mi")}
		_, err := client.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{})
		return err
	}); err != nil {
		return err
	}
	created := time.Since(began)
	if err := <-bound; err != nil {
		return err
	}
	b.record("scheduler/rate", hollowPods/time.Since(began).Seconds(), fmt.Sprintf("last one created after %.2f s, bound after %.2f s", created.Seconds(), time.Since(began).Seconds()))
	b.record("scheduler/cpu", ms(b.cpu()-cpu)/hollowPods)
	return nil
}

func hollowNode(i int) *corev1.Node {
	capacity := corev1.ResourceList{"cpu": resource.MustParse("32"), "memory": resource.MustParse("64Gi"), "pods": resource.MustParse("110")}
	now := metav1.Now()
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("hollow-%d", i)}, Status: corev1.NodeStatus{Capacity: capacity, Allocatable: capacity,
		Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: now, LastTransitionTime: now, Reason: "Hollow"}}}}
}

func (b *bench) untainted(ctx context.Context) error {
	list, err := b.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range list.Items {
		if len(n.Spec.Taints) > 0 {
			return fmt.Errorf("node %s has taints %v", n.Name, n.Spec.Taints)
		}
	}
	_, err = b.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
	return err
}

func allBound(w watch.Interface) error {
	bound := map[string]bool{}
	for e := range w.ResultChan() {
		if p, ok := e.Object.(*corev1.Pod); ok && p.Spec.NodeName != "" {
			bound[p.Name] = true
		}
		if len(bound) == hollowPods {
			return nil
		}
	}
	return fmt.Errorf("the watch ended with %d of %d pods bound", len(bound), hollowPods)
}
