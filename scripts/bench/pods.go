package main

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
)

const podsMethod = `100 pods, one after the other, of a static C program that ends on TERM, without probes: from sending the create until a watch on the same connection shows
the pod Running; scheduled is when it shows a node name; from sending the delete (default grace) until it shows the pod deleted.
A Deployment is scaled from 0 to 50 until its status says 50 ready, to 100, left alone for 30 s, and scaled from 50 to 0 until no pod is left. CPU is that of all of skiff's
processes and of the short-lived ones they started; memory a pod is the PSS of the keepers.`

const onePods = 100

func measurePods(ctx context.Context, b *bench) error {
	if err := b.startReady(ctx); err != nil {
		return err
	}
	if err := b.podRunning(ctx, "warm"); err != nil {
		return err
	}
	if err := b.deletePods(ctx); err != nil {
		return err
	}
	if err := b.onePodAtATime(ctx); err != nil {
		return err
	}
	return b.deployment(ctx)
}

func (b *bench) onePodAtATime(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	pods := b.client.CoreV1().Pods(namespace)
	w, err := pods.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	// until returns when the watch has shown what is waited for, and since when a node name was shown.
	until := func(done func(watch.Event, *corev1.Pod) bool) (scheduled time.Time, err error) {
		for e := range w.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			if ok && p.Spec.NodeName != "" && scheduled.IsZero() {
				scheduled = time.Now()
			}
			if ok && done(e, p) {
				return scheduled, nil
			}
		}
		return scheduled, fmt.Errorf("the watch ended: %w", context.Cause(ctx))
	}
	var running, scheduled, gone []time.Duration
	cpu := b.cpu()
	for i := range onePods {
		name := fmt.Sprintf("one-%d", i)
		began := time.Now()
		if _, err := pods.Create(ctx, pausePod(name), metav1.CreateOptions{}); err != nil {
			return err
		}
		at, err := until(func(_ watch.Event, p *corev1.Pod) bool { return p.Name == name && p.Status.Phase == corev1.PodRunning })
		if err != nil {
			return err
		}
		running, scheduled = append(running, time.Since(began)), append(scheduled, at.Sub(began))
		pause(ctx, 50*time.Millisecond) // a process that has only just begun may not yet listen to TERM, and the kernel drops it then
		began = time.Now()
		if err := pods.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		if _, err := until(func(e watch.Event, p *corev1.Pod) bool { return p.Name == name && e.Type == watch.Deleted }); err != nil {
			return err
		}
		gone = append(gone, time.Since(began))
	}
	b.record("pods/running50", quantile(running, .5))
	b.record("pods/running90", quantile(running, .9))
	b.record("pods/running99", quantile(running, .99))
	b.record("pods/scheduled", quantile(scheduled, .5))
	b.record("pods/gone", quantile(gone, .5), fmt.Sprintf("p90 %.0f, p99 %.0f", quantile(gone, .9), quantile(gone, .99)))
	b.record("pods/cpuone", ms(b.cpu()-cpu)/onePods, "keepers that have ended count as far as they were waited for")
	return nil
}

func (b *bench) deployment(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	labels := map[string]string{"app": "many"}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "many"}, Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pauseSpec()},
	}}
	if _, err := b.client.AppsV1().Deployments(namespace).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return err
	}
	before, began := b.usage(), time.Now()
	daemon := b.daemonAnon()
	if err := b.scale(ctx, 50); err != nil {
		return err
	}
	b.record("pods/up", time.Since(began).Seconds())
	after := b.usage()
	b.record("pods/upcpu", (after.cpu-before.cpu).Seconds()/50)
	if err := b.scale(ctx, 100); err != nil {
		return err
	}
	pause(ctx, 10*time.Second)
	const rest = 30 * time.Second
	before = b.usage()
	pause(ctx, rest)
	after = b.usage()
	keepers := 0.
	for _, pid := range b.skiffs() {
		if pid != b.node.PID() {
			keepers += field(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:") / 1024
		}
	}
	b.record("pods/memory", keepers/100, fmt.Sprintf("%d processes", after.processes))
	b.record("pods/daemon", (b.daemonAnon()-daemon)/100)
	b.record("pods/idlecpu", percent(after.cpu-before.cpu, rest))
	if err := b.scale(ctx, 50); err != nil {
		return err
	}
	if err := b.poll(ctx, 20*time.Millisecond, func() error {
		list, err := b.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) != 50 {
			err = fmt.Errorf("%d pods", len(list.Items))
		}
		return err
	}); err != nil {
		return err
	}
	began = time.Now()
	if err := b.scale(ctx, 0); err != nil {
		return err
	}
	if err := b.noPods(ctx); err != nil {
		return err
	}
	b.record("pods/down", time.Since(began).Seconds())
	return nil
}

// scale sets the replicas and waits until the status says that so many are ready.
func (b *bench) scale(ctx context.Context, n int32) error {
	deployments := b.client.AppsV1().Deployments(namespace)
	s, err := deployments.GetScale(ctx, "many", metav1.GetOptions{})
	if err != nil {
		return err
	}
	s.Spec.Replicas, s.ResourceVersion = n, "" // the status may have changed since
	if _, err := deployments.UpdateScale(ctx, "many", s, metav1.UpdateOptions{}); err != nil {
		return err
	}
	return await(ctx, func(o metav1.ListOptions) (watch.Interface, error) { return deployments.Watch(ctx, o) }, func(e watch.Event) bool {
		d, ok := e.Object.(*appsv1.Deployment)
		return ok && d.Name == "many" && d.Status.ReadyReplicas == n && d.Status.ObservedGeneration == d.Generation
	})
}
