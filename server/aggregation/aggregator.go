package aggregation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/discovery"
	"codeberg.org/skiff/skiff/server/apiserver/openapi"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/outbound"
	"codeberg.org/skiff/skiff/server/store"
)

// Config of an Aggregator. All is required but Now and Log.
type Config struct {
	// Client writes APIServices, their conditions and the ConfigMap, as the server itself.
	Client   *client.Client
	Outbound *outbound.Client
	// ClientCA and FrontProxyCA are told to other servers, in PEM.
	ClientCA, FrontProxyCA func() []byte
	// Metrics registers what is counted; nil registers nothing.
	Metrics *prometheus.Registry
	Now     func() time.Time
	Log     *slog.Logger
}

// Aggregator is safe for concurrent use.
type Aggregator struct {
	cfg     Config
	metrics *metrics
	table   atomic.Pointer[table]
	shown   atomic.Pointer[[]discovery.Foreign] // what discovery shows of other servers

	// Set by PublishTo, before Run.
	discovery *discovery.Documents
	openapi   *openapi.Documents
}

// New starts nothing.
func New(cfg Config) (*Aggregator, error) {
	if cfg.Client == nil || cfg.Outbound == nil || cfg.ClientCA == nil || cfg.FrontProxyCA == nil {
		return nil, errors.New("aggregation: Client, Outbound, ClientCA and FrontProxyCA are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(cfg.Metrics, cfg.Client)
	if err != nil {
		return nil, fmt.Errorf("aggregation: register metrics: %w", err)
	}
	return &Aggregator{cfg: cfg, metrics: m}, nil
}

// PublishTo says where to show what other servers serve. Call it before Run; nil shows nothing.
func (a *Aggregator) PublishTo(d *discovery.Documents, o *openapi.Documents) {
	a.discovery, a.openapi = d, o
}

func gv(group, version string) schema.GroupVersion {
	return schema.GroupVersion{Group: group, Version: version}
}

const (
	// recheck is how often a server that answers is asked again; one that does not is asked after firstRetry, then
	// twice as long each time.
	recheck      = 30 * time.Second
	firstRetry   = 500 * time.Millisecond
	probesAtOnce = 8
	// documentsEvery is how often its OpenAPI documents are read.
	documentsEvery = 2 * time.Minute
)

// state is what the loop knows of one APIService of another server.
type state struct {
	asking    bool
	due       time.Time
	retry     time.Duration
	last      answer
	answered  bool
	documents time.Time // when they were read
}

// loop is Run's own.
type loop struct {
	*Aggregator
	states  map[string]*state
	answers chan answer
	running int
	wait    sync.WaitGroup
	// localDirty says that what the server keeps may have changed.
	localDirty bool
	priorities map[schema.GroupVersion]discovery.Priority
}

// Run follows the objects until ctx ends, and everything it started has ended.
func (a *Aggregator) Run(ctx context.Context) error {
	c := a.cfg.Client
	var kinds []*api.Kind
	for _, obj := range []api.Object{&apiregistrationv1.APIService{}, &corev1.Service{}, &discoveryv1.EndpointSlice{}, &corev1.ConfigMap{}, &apiextensionsv1.CustomResourceDefinition{}} {
		if k := c.KindOf(obj); k != nil {
			kinds = append(kinds, k)
		}
	}
	l := &loop{Aggregator: a, states: map[string]*state{}, answers: make(chan answer, probesAtOnce)}
	defer l.wait.Wait()
	for ctx.Err() == nil {
		w, err := c.Watch(ctx, store.WatchOptions{Kinds: kinds, From: c.Snapshot().Revision()})
		if err == nil {
			err = l.follow(ctx, w)
			w.Stop()
		}
		if err != nil && ctx.Err() == nil {
			a.cfg.Log.Warn("the objects that aggregation needs cannot be followed; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// follow one watch until it ends.
func (l *loop) follow(ctx context.Context, w *store.Watch) error {
	l.localDirty = true
	var due time.Time
	for relevant := true; ; {
		if relevant {
			due = l.cfg.Now().Add(l.round(ctx))
		}
		relevant = true
		timer := time.NewTimer(due.Sub(l.cfg.Now()))
		select {
		case batch, open := <-w.Events():
			timer.Stop()
			if !open {
				return w.Err()
			}
			relevant = l.heard(batch)
		case a := <-l.answers:
			timer.Stop()
			l.running--
			l.answered(ctx, a)
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// heard looks at what changed, and forgets when the servers that it touches were asked last. It is false when nothing
// has changed that the loop cares for.
func (l *loop) heard(batch []*store.Event) (relevant bool) {
	for _, e := range batch {
		switch obj := e.Object.(type) {
		case *apiregistrationv1.APIService:
			l.localDirty, relevant = true, true
			// A change of the spec asks anew; that of the condition, which is ours, does not.
			if old, ok := e.Old.(*apiregistrationv1.APIService); !ok || old.Generation != obj.Generation || !sameTarget(old, obj) {
				l.touch(obj.Name)
			}
		case *apiextensionsv1.CustomResourceDefinition:
			l.localDirty, relevant = true, true
		case *corev1.ConfigMap:
			if obj.Namespace == trustNamespace && obj.Name == trustName {
				l.localDirty, relevant = true, true
			}
		case *corev1.Service:
			relevant = l.touchService(obj.Namespace, obj.Name) || relevant
		case *discoveryv1.EndpointSlice:
			relevant = l.touchService(obj.Namespace, obj.Labels[discoveryv1.LabelServiceName]) || relevant
		}
	}
	return relevant
}

func sameTarget(a, b *apiregistrationv1.APIService) bool {
	return (a.Spec.Service == nil) == (b.Spec.Service == nil) && (a.Spec.Service == nil || a.Spec.Service.Name == b.Spec.Service.Name && a.Spec.Service.Namespace == b.Spec.Service.Namespace) &&
		string(a.Spec.CABundle) == string(b.Spec.CABundle) && a.Spec.InsecureSkipTLSVerify == b.Spec.InsecureSkipTLSVerify
}

func (l *loop) touch(name string) {
	if s := l.states[name]; s != nil {
		s.due, s.retry = time.Time{}, 0
	}
}

func (l *loop) touchService(namespace, name string) (found bool) {
	if len(l.states) == 0 {
		return false
	}
	for _, b := range *l.table.Load() {
		if b.target.Service.Namespace == namespace && b.target.Service.Name == name {
			l.touch(b.name)
			found = true
		}
	}
	return found
}

// round brings table, APIServices and conditions up to date, asks whom it is time to ask, and returns when the next
// round is due.
func (l *loop) round(ctx context.Context) (next time.Duration) {
	snap, now := l.cfg.Client.Snapshot(), l.cfg.Now()
	next = time.Hour
	if l.localDirty {
		l.localDirty = false
		if err := errors.Join(l.syncLocal(ctx, snap), l.syncTrust(ctx, snap)); err != nil && ctx.Err() == nil {
			l.cfg.Log.Debug("keep the API services of the server", "error", err)
			l.localDirty, next = true, 2*time.Second
		}
	}
	var old table
	if t := l.table.Load(); t != nil {
		old = *t
	}
	fresh := newTable(snap, old)
	l.table.Store(&fresh)
	l.forgetGone(fresh)
	for svc := range client.List[*apiregistrationv1.APIService](snap, "") {
		if wait := l.look(ctx, snap, svc, fresh[gvOf(svc)], now); wait < next {
			next = wait
		}
	}
	l.publish(snap, fresh)
	return max(next, 10*time.Millisecond)
}

func (l *loop) forgetGone(t table) {
	names := map[string]bool{}
	for _, b := range t {
		names[b.name] = true
	}
	for name := range l.states {
		if !names[name] {
			delete(l.states, name)
			l.metrics.forget(name)
			if l.openapi != nil {
				l.openapi.SetForeign(name, openapi.Foreign{})
			}
		}
	}
}

// look at one APIService; it returns after how long it wants to be looked at again.
func (l *loop) look(ctx context.Context, snap client.Snapshot, svc *apiregistrationv1.APIService, b *backend, now time.Time) time.Duration {
	v, mustAsk := judge(svc, snap)
	if svc.Spec.Service == nil {
		l.conclude(ctx, svc, v)
		return time.Hour
	}
	s := l.states[svc.Name]
	if s == nil {
		s = &state{}
		l.states[svc.Name] = s
	}
	if !mustAsk {
		s.answered = false
		l.conclude(ctx, svc, v)
		return recheck
	}
	if s.asking {
		return time.Hour // its answer wakes the loop
	}
	if wait := s.due.Sub(now); wait > 0 {
		return wait
	}
	if l.running >= probesAtOnce {
		return time.Hour // as above
	}
	s.asking = true
	l.running++
	documents := l.openapi != nil && now.Sub(s.documents) >= documentsEvery
	l.wait.Go(func() {
		a := ask(ctx, l.cfg.Outbound, b, documents)
		select {
		case l.answers <- a:
		case <-ctx.Done():
		}
	})
	return time.Hour
}

// answered takes in what a server said.
func (l *loop) answered(ctx context.Context, a answer) {
	s := l.states[a.name]
	if s == nil {
		return // its APIService is gone
	}
	now := l.cfg.Now()
	s.asking = false
	if a.err != nil {
		if s.retry = min(recheck, max(firstRetry, 2*s.retry)); s.retry == 0 {
			s.retry = firstRetry
		}
		s.due, s.answered = now.Add(s.retry), false
	} else {
		s.due, s.retry, s.answered = now.Add(recheck), 0, true
		s.last.resources = a.resources
		if a.v2 != nil || a.v3 != nil {
			s.documents = now
			l.publishOpenAPI(a)
		}
	}
	svc, ok := client.Get[*apiregistrationv1.APIService](l.cfg.Client.Snapshot(), "", a.name)
	if !ok || svc.Spec.Service == nil {
		return
	}
	v := passed
	if a.err != nil {
		v = no("FailedDiscoveryCheck", "%v", a.err)
	}
	l.conclude(ctx, svc, v)
}

// conclude writes the condition if it has changed.
func (l *loop) conclude(ctx context.Context, svc *apiregistrationv1.APIService, v verdict) {
	now := metav1.NewTime(l.cfg.Now())
	if withCondition(svc, v, now) == nil {
		return
	}
	if v.status != apiregistrationv1.ConditionTrue {
		l.metrics.turned.WithLabelValues(svc.Name, v.reason).Inc()
	}
	_, err := l.cfg.Client.Mutate(ctx, svc, "status", func(obj api.Object) error {
		current := obj.(*apiregistrationv1.APIService)
		if next := withCondition(current, v, now); next != nil {
			current.Status = next.Status
		}
		return nil
	})
	if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		l.cfg.Log.Debug("write the condition of an API service", "apiservice", svc.Name, "error", err)
	}
	if v.status != apiregistrationv1.ConditionTrue {
		l.cfg.Log.Info("an API service is not available", "apiservice", svc.Name, "reason", v.reason, "message", v.message)
	}
}
