package kubelet

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// services are what enableServiceLinks shows to containers. They are watched only if nobody else in the process does.
type services struct {
	k     *Kubelet
	once  sync.Once
	store cache.Store
	heard chan struct{}
}

func (s *services) init() {
	s.once.Do(func() { s.store, s.heard = cache.NewStore(cache.MetaNamespaceKeyFunc), make(chan struct{}) })
}

func (s *services) run(ctx context.Context) error {
	s.init()
	if s.k.cfg.Services != nil {
		<-ctx.Done()
		return nil
	}
	client := s.k.cfg.Client.CoreV1().Services(metav1.NamespaceAll)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			l, err := client.List(ctx, o)
			if err == nil {
				for i := range l.Items {
					trim(&l.Items[i])
				}
			}
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return client.Watch(ctx, o) },
	}
	r := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, s.k.cfg.Client), &corev1.Service{}, &serviceStore{Store: s.store, heard: s.heard},
		cache.ReflectorOptions{Name: "services", Backoff: watchBackOff()})
	r.RunWithContext(ctx)
	return nil
}

// trim drops what is not shown.
func trim(s *corev1.Service) { s.ManagedFields, s.Annotations = nil, nil }

// serviceStore says when the first list has come.
type serviceStore struct {
	cache.Store
	once  sync.Once
	heard chan struct{}
}

func (s *serviceStore) Replace(list []any, rv string) error {
	defer s.once.Do(func() { close(s.heard) })
	return s.Store.Replace(list, rv)
}

// of returns the Services that the pod's containers see: default/kubernetes, and those of its namespace unless it does
// not want them. It waits a little for the first list.
func (s *services) of(ctx context.Context, pod *corev1.Pod) (out []*corev1.Service) {
	if s.k.cfg.Client == nil && s.k.cfg.Services == nil {
		return nil
	}
	s.init()
	all := s.k.cfg.Services
	if all == nil {
		select {
		case <-s.heard:
		case <-ctx.Done():
		case <-time.After(3 * time.Second):
		}
		all = func() (l []*corev1.Service) {
			for _, o := range s.store.List() {
				l = append(l, o.(*corev1.Service))
			}
			return l
		}
	}
	links := pod.Spec.EnableServiceLinks == nil || *pod.Spec.EnableServiceLinks
	for _, svc := range all() {
		own := links && svc.Namespace == pod.Namespace
		if own || svc.Namespace == metav1.NamespaceDefault && svc.Name == "kubernetes" {
			out = append(out, svc)
		}
	}
	// kubernetes of the default namespace goes first: one of the pod's own namespace wins over it.
	slices.SortFunc(out, func(a, b *corev1.Service) int {
		if a.Namespace != b.Namespace {
			if a.Namespace == pod.Namespace {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}
