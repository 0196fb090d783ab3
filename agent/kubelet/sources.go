package kubelet

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"codeberg.org/skiff/skiff/agent/kubelet/plan"
	"codeberg.org/skiff/skiff/internal/wellknown"
)

// offlineAfter is how long a starting node waits for the server before it runs what its checkpoint says.
const offlineAfter = 3 * time.Second

// backOff of a lost watch: a server that comes back is heard soon.
func watchBackOff() *wait.Backoff {
	return &wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 20, Cap: 3 * time.Second}
}

// watchPods follows the API's pods of this node.
func (k *Kubelet) watchPods(ctx context.Context) error {
	offline := time.AfterFunc(offlineAfter, func() { k.offline(ctx) })
	defer offline.Stop()
	selector := fields.OneTermEqualSelector("spec.nodeName", k.cfg.NodeName).String()
	client := k.cfg.Client.CoreV1().Pods(metav1.NamespaceAll)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return client.Watch(ctx, o)
		},
	}
	r := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, k.cfg.Client), &corev1.Pod{}, podSource{k}, cache.ReflectorOptions{Name: "pods of this node", Backoff: watchBackOff()})
	r.RunWithContext(ctx)
	return nil
}

// podSource is the store that the reflector fills.
type podSource struct{ k *Kubelet }

func (s podSource) Add(o any) error    { s.k.setPod(o.(*corev1.Pod)); return nil }
func (s podSource) Update(o any) error { s.k.setPod(o.(*corev1.Pod)); return nil }
func (s podSource) Resync() error      { return nil }
func (s podSource) Delete(o any) error {
	if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = d.Obj
	}
	if p, ok := o.(*corev1.Pod); ok {
		s.k.deletePod(p)
	}
	return nil
}

// Replace takes the whole list: what is not in it is gone.
func (s podSource) Replace(list []any, _ string) error {
	k := s.k
	seen := map[types.UID]bool{}
	names := map[types.NamespacedName]bool{}
	for _, o := range list {
		p := o.(*corev1.Pod)
		seen[p.UID] = true
		names[types.NamespacedName{Namespace: p.Namespace, Name: p.Name}] = true
		k.setPod(p)
	}
	k.mu.Lock()
	var gone []*worker
	for uid, w := range k.pods {
		if !w.static && !seen[uid] {
			gone = append(gone, w)
		}
	}
	for n := range k.mirrors {
		if !names[n] {
			delete(k.mirrors, n)
		}
	}
	for uid := range k.finished {
		if !seen[uid] {
			delete(k.finished, uid)
		}
	}
	k.heardAPI = true
	k.mu.Unlock()
	for _, w := range gone {
		w.remove(nil)
	}
	k.wakeStatic()
	k.sweep()
	return nil
}

// setPod takes a pod of the API as it is now.
func (k *Kubelet) setPod(p *corev1.Pod) {
	if p.Annotations[wellknown.AnnotationConfigMirror] != "" {
		k.mu.Lock()
		k.mirrors[types.NamespacedName{Namespace: p.Namespace, Name: p.Name}] = p
		k.mu.Unlock()
		k.wakeStatic()
		k.sweepMirrors()
		return
	}
	k.mu.Lock()
	w, done := k.pods[p.UID], k.finished[p.UID]
	k.mu.Unlock()
	switch {
	case done:
	case w != nil:
		w.update(p)
	default:
		k.add(p, false, nil)
	}
}

// deletePod is told that the object is gone.
func (k *Kubelet) deletePod(p *corev1.Pod) {
	if p.Annotations[wellknown.AnnotationConfigMirror] != "" {
		k.mu.Lock()
		delete(k.mirrors, types.NamespacedName{Namespace: p.Namespace, Name: p.Name})
		k.mu.Unlock()
		k.wakeStatic()
		return
	}
	k.mu.Lock()
	w := k.pods[p.UID]
	delete(k.finished, p.UID)
	k.mu.Unlock()
	if w != nil {
		w.remove(p)
	}
}

// add makes a worker for a pod; it begins when after is closed, and nothing runs any more of the pods whose room it takes.
func (k *Kubelet) add(p *corev1.Pod, static bool, after <-chan struct{}) *worker {
	w := newWorker(k, p, static)
	waits := []<-chan struct{}{after}
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		w.verdict = &plan.Verdict{Reason: p.Status.Reason, Message: p.Status.Message}
	} else {
		var victims []*worker
		if w.verdict, victims = k.admitUnlessDown(p, static); w.verdict != nil {
			k.counts.rejections.WithLabelValues(w.verdict.Reason).Inc()
			k.events.pod(p, corev1.EventTypeWarning, w.verdict.Reason, "%s", strings.TrimPrefix(w.verdict.Message, rejected))
		}
		for _, v := range victims {
			waits = append(waits, v.halted)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx == nil || k.ctx.Err() != nil {
		return w
	}
	w.ended = make(chan struct{})
	k.pods[p.UID] = w
	k.wg.Add(1)
	go func() {
		defer k.wg.Done()
		defer close(w.ended)
		for _, c := range waits {
			if c == nil {
				continue
			}
			select {
			case <-c:
			case <-k.ctx.Done():
				return
			}
		}
		w.run(k.ctx)
	}()
	return w
}

func (k *Kubelet) wakeStatic() {
	for _, w := range k.workers() {
		if w.static {
			w.wakeUp()
		}
	}
}

// offline runs the pods of the checkpoint, if the server was not heard yet.
func (k *Kubelet) offline(ctx context.Context) {
	k.mu.Lock()
	heard := k.heardAPI
	k.mu.Unlock()
	if heard || ctx.Err() != nil {
		return
	}
	pods := k.readCheckpoints()
	k.cfg.Log.Info("no server is reached: running the pods that this node knows", "pods", len(pods))
	for _, p := range pods {
		k.mu.Lock()
		_, known := k.pods[p.UID]
		k.mu.Unlock()
		if !known {
			k.add(p, false, nil)
		}
	}
}

// standalone is the source without a server: there is nothing to hear.
func (k *Kubelet) standalone(ctx context.Context) error {
	k.mu.Lock()
	k.heardAPI = true
	k.mu.Unlock()
	k.sweep()
	<-ctx.Done()
	return nil
}
