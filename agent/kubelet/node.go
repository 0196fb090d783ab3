package kubelet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

const (
	leaseNamespace = "kube-node-lease"
	leaseSeconds   = 40
	// leaseEvery: each renewal costs the server an fsync, and the node is given up after 50 s of silence. Two renewals
	// may be lost.
	leaseEvery = 20 * time.Second
	leaseRetry = 3 * time.Second
	// statusEvery: a status that does not change is sent this rarely.
	statusEvery = 5 * time.Minute
)

// node keeps this node's object, its status and its lease.
type node struct {
	k       *Kubelet
	machine machine
	wakeup  chan struct{}

	mu       sync.Mutex
	obj      *corev1.Node // newest known
	pressure pressure
	down     bool // the machine is going down
}

// pressure of the node, as eviction sees it.
type pressure struct{ Memory, Disk, PIDs bool }

func newNode(k *Kubelet) *node {
	return &node{k: k, machine: readMachine(k.cfg.Paths.Data), wakeup: make(chan struct{}, 1)}
}

func (n *node) wakeUp() {
	select {
	case n.wakeup <- struct{}{}:
	default:
	}
}

func (n *node) object() *corev1.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.obj
}

func (n *node) memory() int64 { return n.machine.memory }

// pressed says under which pressure the node is.
func (n *node) pressed() pressure {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pressure
}

func (n *node) setPressure(p pressure) {
	n.mu.Lock()
	changed := n.pressure != p
	n.pressure = p
	n.mu.Unlock()
	if changed {
		n.wakeUp()
	}
}

// run registers the node, then keeps status and lease.
func (n *node) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wait := 100 * time.Millisecond
	for ctx.Err() == nil {
		err := n.register(ctx)
		if err == nil {
			break
		}
		n.k.cfg.Log.Warn("cannot register the node", "node", n.k.cfg.NodeName, "err", err)
		sleep(ctx, wait)
		wait = min(2*wait, 5*time.Second)
	}
	for _, f := range []func(context.Context){n.watch, n.renew} {
		wg.Add(1)
		go func() { defer wg.Done(); f(ctx) }()
	}
	n.k.events.onNode(corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	n.keepStatus(ctx)
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// keepStatus sends the status when it changes, and now and then.
func (n *node) keepStatus(ctx context.Context) {
	var last time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := statusEvery
		if err := n.sync(ctx, n.k.cfg.Now().Sub(last) >= statusEvery); err == nil {
			last = n.k.cfg.Now()
		} else if !errors.Is(err, errUnchanged) {
			if ctx.Err() == nil {
				n.k.cfg.Log.Warn("cannot send the node's status", "err", err)
			}
			next = leaseRetry
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-n.wakeup:
		}
	}
}

var errUnchanged = errors.New("unchanged")

// sync writes the status if it differs from what the server has, or if it must.
func (n *node) sync(ctx context.Context, must bool) error {
	client := n.k.cfg.Client.CoreV1().Nodes()
	for range 5 {
		have := n.object()
		if have == nil {
			got, err := client.Get(ctx, n.k.cfg.NodeName, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				if err = n.register(ctx); err == nil {
					continue
				}
			}
			if err != nil {
				return err
			}
			n.set(got)
			continue
		}
		next := have.DeepCopy()
		n.fill(next, n.k.cfg.Now())
		if !must && sameStatus(&have.Status, &next.Status) {
			return errUnchanged
		}
		got, err := client.UpdateStatus(ctx, next, metav1.UpdateOptions{})
		switch {
		case err == nil:
			n.tellConditions(&have.Status, &got.Status)
			n.set(got)
			return nil
		case apierrors.IsConflict(err), apierrors.IsNotFound(err):
			n.mu.Lock()
			n.obj = nil
			n.mu.Unlock()
		default:
			return err
		}
	}
	return fmt.Errorf("node %s is changed by others all the time", n.k.cfg.NodeName)
}

// sameStatus compares all but the times of heartbeats.
func sameStatus(a, b *corev1.NodeStatus) bool {
	x, y := a.DeepCopy(), b.DeepCopy()
	for _, s := range []*corev1.NodeStatus{x, y} {
		for i := range s.Conditions {
			s.Conditions[i].LastHeartbeatTime = metav1.Time{}
		}
	}
	return equality.Semantic.DeepEqual(x, y)
}

func (n *node) set(obj *corev1.Node) {
	n.mu.Lock()
	if n.obj != nil && newer(n.obj.ResourceVersion, obj.ResourceVersion) && n.obj.UID == obj.UID {
		n.mu.Unlock()
		return
	}
	before := n.obj
	n.obj = obj
	n.mu.Unlock()
	n.tellSchedulable(before, obj)
	if f := n.k.cfg.OnNode; f != nil {
		f(obj)
	}
}

// register makes the node's object, or brings the labels of one that is there up to date.
func (n *node) register(ctx context.Context) error {
	client := n.k.cfg.Client.CoreV1().Nodes()
	want := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.k.cfg.NodeName, Labels: n.labels(),
		Annotations: map[string]string{"volumes.kubernetes.io/controller-managed-attach-detach": "true"}},
		Spec: corev1.NodeSpec{Taints: n.k.cfg.Taints, ProviderID: n.k.cfg.ProviderID}}
	n.fill(want, n.k.cfg.Now())
	got, err := client.Create(ctx, want, metav1.CreateOptions{})
	if err == nil {
		n.tellConditions(&corev1.NodeStatus{}, &want.Status)
		n.set(got)
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create node %s: %w", n.k.cfg.NodeName, err)
	}
	if got, err = client.Get(ctx, n.k.cfg.NodeName, metav1.GetOptions{}); err != nil {
		return fmt.Errorf("get node %s: %w", n.k.cfg.NodeName, err)
	}
	next := got.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	maps.Copy(next.Labels, n.labels())
	if next.Spec.ProviderID == "" {
		next.Spec.ProviderID = n.k.cfg.ProviderID // once set it cannot change
	}
	if !equality.Semantic.DeepEqual(got, next) {
		if got, err = client.Update(ctx, next, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("update labels of node %s: %w", n.k.cfg.NodeName, err)
		}
	}
	n.set(got)
	return nil
}

// watch follows the node's object: labels, taints and pod CIDRs change there.
func (n *node) watch(ctx context.Context) {
	client := n.k.cfg.Client.CoreV1().Nodes()
	selector := fields.OneTermEqualSelector("metadata.name", n.k.cfg.NodeName).String()
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
	r := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, n.k.cfg.Client), &corev1.Node{}, nodeStore{n}, cache.ReflectorOptions{Name: "this node", Backoff: watchBackOff()})
	r.RunWithContext(ctx)
}

// nodeStore is what the reflector fills.
type nodeStore struct{ n *node }

func (s nodeStore) Add(o any) error    { return s.Update(o) }
func (s nodeStore) Resync() error      { return nil }
func (s nodeStore) Update(o any) error { s.n.set(o.(*corev1.Node)); s.n.wakeUp(); return nil }
func (s nodeStore) Delete(any) error {
	// Someone deleted the node while it runs: it registers again.
	s.n.mu.Lock()
	s.n.obj = nil
	s.n.mu.Unlock()
	s.n.wakeUp()
	return nil
}

func (s nodeStore) Replace(list []any, _ string) error {
	for _, o := range list {
		s.n.set(o.(*corev1.Node))
	}
	s.n.wakeUp()
	return nil
}

// renew keeps the lease that says the node is alive.
func (n *node) renew(ctx context.Context) {
	client := n.k.cfg.Client.CoordinationV1().Leases(leaseNamespace)
	var lease *coordinationv1.Lease
	for ctx.Err() == nil {
		now := metav1.NewMicroTime(n.k.cfg.Now())
		var err error
		if lease == nil {
			lease, err = client.Get(ctx, n.k.cfg.NodeName, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				lease, err = client.Create(ctx, n.newLease(now), metav1.CreateOptions{})
			}
		}
		if err == nil && !lease.Spec.RenewTime.Equal(&now) {
			next := lease.DeepCopy()
			next.Spec = n.newLease(now).Spec
			lease, err = client.Update(ctx, next, metav1.UpdateOptions{})
		}
		if err != nil {
			lease = nil
			sleep(ctx, leaseRetry)
			continue
		}
		sleep(ctx, leaseEvery)
	}
}

func (n *node) newLease(now metav1.MicroTime) *coordinationv1.Lease {
	seconds, holder := int32(leaseSeconds), n.k.cfg.NodeName
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: holder, Namespace: leaseNamespace},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &now}}
	if o := n.object(); o != nil {
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: o.Name, UID: o.UID}}
	}
	return l
}
