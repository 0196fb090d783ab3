package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// Cache holds the objects. It implements the sources that netproxy, agent/dns and agent/podnet ask for.
type Cache struct {
	client kubernetes.Interface
	log    *slog.Logger
	synced chan struct{}

	mu         sync.RWMutex
	services   map[types.NamespacedName]*corev1.Service
	slices     map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice // by Service, then by name
	ownerOf    map[types.NamespacedName]types.NamespacedName                  // slice → its Service
	nodes      map[string]*corev1.Node
	namespaces map[string]*corev1.Namespace

	onServices subscribers[func(types.NamespacedName)]
	onNodes    subscribers[func()]
}

// New makes an empty cache.
func New(client kubernetes.Interface, log *slog.Logger) *Cache {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Cache{
		client: client, log: log.With("component", "cluster"), synced: make(chan struct{}),
		services:   map[types.NamespacedName]*corev1.Service{},
		slices:     map[types.NamespacedName]map[string]*discoveryv1.EndpointSlice{},
		ownerOf:    map[types.NamespacedName]types.NamespacedName{},
		nodes:      map[string]*corev1.Node{},
		namespaces: map[string]*corev1.Namespace{},
	}
}

// Synced is closed when all kinds have been listed once.
func (c *Cache) Synced() <-chan struct{} { return c.synced }

// Run watches until ctx ends. It is called once.
func (c *Cache) Run(ctx context.Context) error {
	core, discovery := c.client.CoreV1(), c.client.DiscoveryV1()
	var first, all sync.WaitGroup
	start := func(table interface {
		cache.ReflectorStore
		onFirstList(func())
	}, example runtime.Object, lw *cache.ListWatch) {
		first.Add(1)
		table.onFirstList(first.Done)
		logger := logr.FromSlogHandler(c.log.Handler())
		r := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, c.client), example, table,
			cache.ReflectorOptions{Logger: &logger, Name: "agent/cluster", Backoff: reconnect()})
		all.Go(func() { r.RunWithContext(klog.NewContext(ctx, logger)) })
	}
	start(newTable(c.setService, c.deleteService), &corev1.Service{}, listWatch(core.Services("").List, core.Services("").Watch))
	start(newTable(c.setSlice, c.deleteSlice), &discoveryv1.EndpointSlice{}, listWatch(discovery.EndpointSlices("").List, discovery.EndpointSlices("").Watch))
	start(newTable(c.setNode, c.deleteNode), &corev1.Node{}, listWatch(core.Nodes().List, core.Nodes().Watch))
	start(newTable(c.setNamespace, c.deleteNamespace), &corev1.Namespace{}, listWatch(core.Namespaces().List, core.Namespaces().Watch))
	listed := make(chan struct{})
	go func() { first.Wait(); close(listed) }()
	select {
	case <-listed:
		close(c.synced)
	case <-ctx.Done():
	}
	<-ctx.Done()
	all.Wait()
	return nil
}

// reconnect is how quickly a broken watch is tried again: a node must see changes soon after the server is back.
func reconnect() *wait.Backoff {
	return &wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 8, Cap: 5 * time.Second}
}

func listWatch[L runtime.Object](list func(context.Context, metav1.ListOptions) (L, error), watchFn func(context.Context, metav1.ListOptions) (watch.Interface, error)) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return list(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return watchFn(ctx, o)
		},
	}
}
