package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"
)

const startMethod = `Five times each, the median: from the start of the process, on data directories that hold nothing but the image, until a watch shows the node
Ready; until a pod that is created as soon as the API takes it is shown Running; and the latter again after a stop, with the data. Certificates are
made within that time.`

const repeats = 5

func measureStart(ctx context.Context, b *bench) error {
	var ready, first, again, cpu []time.Duration
	for i := range repeats {
		if i > 0 {
			if err := b.forget(); err != nil {
				return err
			}
		}
		began, err := b.start(ctx)
		if err != nil {
			return err
		}
		if err := b.nodeReady(ctx); err != nil {
			return err
		}
		ready, cpu = append(ready, time.Since(began)), append(cpu, b.cpu())
		if err := b.stopClean(ctx); err != nil {
			return err
		}
		if err := b.forget(); err != nil {
			return err
		}
		for _, times := range []*[]time.Duration{&first, &again} {
			began, err := b.start(ctx)
			if err != nil {
				return err
			}
			if err := b.podRunning(ctx, "first"); err != nil {
				return err
			}
			*times = append(*times, time.Since(began))
			if err := b.stopClean(ctx); err != nil {
				return err
			}
		}
	}
	b.record("start/ready", quantile(ready, .5)/1000, spread(ready))
	b.record("start/pod", quantile(first, .5)/1000, spread(first))
	b.record("start/again", quantile(again, .5)/1000, spread(again))
	b.record("start/cpu", quantile(cpu, .5)/1000, spread(cpu))
	return nil
}

func spread(all []time.Duration) string {
	return fmt.Sprintf("%.2f–%.2f", slices.Min(all).Seconds(), slices.Max(all).Seconds())
}

// stopClean deletes every pod and stops the daemon.
func (b *bench) stopClean(ctx context.Context) error {
	if err := b.deletePods(ctx); err != nil {
		return err
	}
	return b.node.Stop()
}

// forget empties the data directories, but for the images.
func (b *bench) forget() error {
	lib := filepath.Join(b.node.Dir(), "lib")
	agent, err := os.ReadDir(filepath.Join(lib, "agent"))
	if err != nil {
		return err
	}
	paths := []string{filepath.Join(lib, "server"), filepath.Join(b.node.Dir(), "etc")}
	for _, e := range agent {
		if e.Name() != "images" {
			paths = append(paths, filepath.Join(lib, "agent", e.Name()))
		}
	}
	for _, p := range paths {
		if err := os.RemoveAll(p); err != nil {
			return err
		}
	}
	return nil
}

// podRunning creates a pod as soon as the API takes it and waits until a watch shows it Running.
func (b *bench) podRunning(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pods := b.client.CoreV1().Pods(namespace)
	err := b.poll(ctx, 5*time.Millisecond, func() error {
		_, err := pods.Create(ctx, pausePod(name), metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("create a pod: %w", err)
	}
	return await(ctx, func(o metav1.ListOptions) (watch.Interface, error) { return pods.Watch(ctx, o) }, func(e watch.Event) bool {
		p, ok := e.Object.(*corev1.Pod)
		return ok && p.Name == name && p.Status.Phase == corev1.PodRunning
	})
}

func pausePod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "bench"}}, Spec: pauseSpec()}
}

func pauseSpec() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "pause", Image: "bench/pause:v1", ImagePullPolicy: corev1.PullNever}}}
}

// deletePods deletes every pod and waits until they are gone. A process that has only just begun may not yet listen to TERM.
func (b *bench) deletePods(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pods := b.client.CoreV1().Pods(namespace)
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](1)}, metav1.ListOptions{}); err != nil {
		return err
	}
	return b.noPods(ctx)
}

func (b *bench) noPods(ctx context.Context) error {
	return b.poll(ctx, 5*time.Millisecond, func() error {
		list, err := b.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("pod %s is still there", list.Items[0].Name)
		}
		return err
	})
}
