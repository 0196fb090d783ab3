package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const namespace = "default"

// cluster is how the benchmark talks to the node: client-go over TLS, from within the node's network namespace.
type cluster struct {
	config *rest.Config // JSON
	client kubernetes.Interface
}

// start starts the node and returns when the API answers, with the moment at which the process was started.
func (b *bench) start(ctx context.Context) (time.Time, error) {
	_ = os.Remove(b.node.Kubeconfig())
	began := time.Now()
	if err := b.node.Start("server", b.flags...); err != nil {
		return began, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := b.poll(ctx, 2*time.Millisecond, func() error { _, err := os.Stat(b.node.Kubeconfig()); return err })
	if err != nil {
		return began, fmt.Errorf("no kubeconfig: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", b.node.Kubeconfig())
	if err != nil {
		return began, err
	}
	config.QPS, config.Dial = -1, b.node.Dial
	config.ContentType, config.AcceptContentTypes = "application/json", "application/json" // typed clients prefer protobuf otherwise
	b.cluster = &cluster{config: config}
	if b.client, err = kubernetes.NewForConfig(config); err != nil {
		return began, err
	}
	return began, b.poll(ctx, 2*time.Millisecond, func() error {
		_, err := b.client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		return err
	})
}

// startReady is start, until the node is Ready and pods can be created.
func (b *bench) startReady(ctx context.Context) error {
	if _, err := b.start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := b.nodeReady(ctx); err != nil {
		return err
	}
	return b.poll(ctx, 10*time.Millisecond, func() error {
		_, err := b.client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

func (b *bench) nodeReady(ctx context.Context) error {
	return await(ctx, func(o metav1.ListOptions) (watch.Interface, error) { return b.client.CoreV1().Nodes().Watch(ctx, o) },
		func(e watch.Event) bool {
			n, ok := e.Object.(*corev1.Node)
			return ok && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			})
		})
}

// poll tries until it succeeds.
func (b *bench) poll(ctx context.Context, every time.Duration, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(every):
		case <-b.node.Exited():
			return fmt.Errorf("skiff has ended: %s", tail(b.node.LogFile()))
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

func tail(file string) string {
	data, _ := os.ReadFile(file)
	return string(data[max(0, len(data)-2000):])
}

// await watches from the present state on until done.
func await(ctx context.Context, open func(metav1.ListOptions) (watch.Interface, error), done func(watch.Event) bool) error {
	w, err := open(metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				return fmt.Errorf("the watch ended")
			}
			if done(e) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// each calls do for 0…n-1 from a number of workers; the first error ends it.
func each(n, workers int, do func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[w] = do(i); errs[w] != nil {
					next.Store(int64(n))
					return
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// quantile of the measured durations, in ms.
func quantile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	return ms(s[min(len(s)-1, int(q*float64(len(s))))])
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
