package objects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// Kinds of object.
const (
	KindConfigMap = "configmap"
	KindSecret    = "secret"
	// KindTrustBundles is all ClusterTrustBundles as one object; it has no name.
	KindTrustBundles = "clustertrustbundles"
)

// Ref names an object.
type Ref struct{ Kind, Namespace, Name string }

// Config of a Cache.
type Config struct {
	Client kubernetes.Interface // nil: no server; every object is missing
	Dir    string
	// Changed is called with the pods that refer to an object that changed. It must not block.
	Changed func(uid types.UID)
	// NodeUID is that of this node's object; nil: no certificates for pods.
	NodeUID func() types.UID
	Log     *slog.Logger
	Now     func() time.Time
}

// Cache of referenced objects. Safe for concurrent use.
type Cache struct {
	cfg  Config
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	entries map[Ref]*entry
	pods    map[types.UID]map[Ref]bool
	tokens  map[tokenKey]*token
	certs   map[certKey]*credential
	issues  map[certKey]*issue
}

// entry is one object; its fields are guarded by Cache.mu.
type entry struct {
	ref   Ref
	users int
	stop  context.CancelFunc
	ready chan struct{} // closed when the first answer came
	known bool
	obj   runtime.Object // nil: does not exist, or err
	err   error
}

// New returns an empty cache.
func New(cfg Config) *Cache {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Cache{cfg: cfg, ctx: ctx, stop: stop, entries: map[Ref]*entry{}, pods: map[types.UID]map[Ref]bool{}, tokens: map[tokenKey]*token{},
		certs: map[certKey]*credential{}, issues: map[certKey]*issue{}}
}

// Run returns when ctx has ended and all watches with it.
func (c *Cache) Run(ctx context.Context) error {
	<-ctx.Done()
	c.stop()
	c.wg.Wait()
	return nil
}

// Want says which objects a pod refers to; none releases them all.
func (c *Cache) Want(uid types.UID, refs []Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := make(map[Ref]bool, len(refs))
	for _, r := range refs {
		if next[r] {
			continue
		}
		next[r] = true
		if !c.pods[uid][r] {
			c.acquire(r)
		}
	}
	for r := range c.pods[uid] {
		if !next[r] {
			c.release(r)
		}
	}
	if len(next) == 0 {
		delete(c.pods, uid)
		for k := range c.tokens {
			if k.uid == uid {
				delete(c.tokens, k)
			}
		}
		for k := range c.certs {
			if k.uid == uid {
				delete(c.certs, k)
			}
		}
		for k, out := range c.issues {
			if k.uid == uid && out.final {
				delete(c.issues, k)
			}
		}
		return
	}
	c.pods[uid] = next
}

func (c *Cache) acquire(r Ref) *entry {
	e := c.entries[r]
	if e == nil {
		ctx, stop := context.WithCancel(c.ctx)
		e = &entry{ref: r, stop: stop, ready: make(chan struct{})}
		c.entries[r] = e
		if c.cfg.Client == nil {
			e.err = notFound(r)
			close(e.ready)
			e.known = true
		} else {
			c.wg.Add(1)
			go func() { defer c.wg.Done(); c.follow(ctx, e) }()
		}
	}
	e.users++
	return e
}

func (c *Cache) release(r Ref) {
	e := c.entries[r]
	if e == nil {
		return
	}
	if e.users--; e.users == 0 {
		e.stop()
		delete(c.entries, r)
		c.forget(r)
	}
}

// get waits for the first answer about the object. An object that no pod wants is fetched and forgotten.
func (c *Cache) get(ctx context.Context, r Ref) (runtime.Object, error) {
	c.mu.Lock()
	e := c.acquire(r)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.release(r)
		c.mu.Unlock()
	}()
	select {
	case <-e.ready:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for %s %s/%s: %w", r.Kind, r.Namespace, r.Name, ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.obj != nil {
		return e.obj, nil
	}
	if e.err != nil {
		return nil, e.err
	}
	return nil, notFound(r)
}

func notFound(r Ref) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: r.Kind}, r.Name)
}

// ConfigMap returns the newest known; never change it.
func (c *Cache) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	o, err := c.get(ctx, Ref{KindConfigMap, namespace, name})
	if err != nil {
		return nil, err
	}
	return o.(*corev1.ConfigMap), nil
}

// Secret returns the newest known; never change it.
func (c *Cache) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	o, err := c.get(ctx, Ref{KindSecret, namespace, name})
	if err != nil {
		return nil, err
	}
	return o.(*corev1.Secret), nil
}

// follow keeps the entry equal to the object until ctx ends.
func (c *Cache) follow(ctx context.Context, e *entry) {
	wait := time.Second
	for ctx.Err() == nil {
		rv, err := c.list(ctx, e)
		if err == nil {
			wait = time.Second
			if c.immutable(e) {
				return
			}
			err = c.watch(ctx, e, rv)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			c.failed(e, err)
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			wait = min(2*wait, 30*time.Second)
		}
	}
}

func (c *Cache) immutable(e *entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch o := e.obj.(type) {
	case *corev1.ConfigMap:
		return o.Immutable != nil && *o.Immutable
	case *corev1.Secret:
		return o.Immutable != nil && *o.Immutable
	}
	return false
}

func (c *Cache) list(ctx context.Context, e *entry) (rv string, err error) {
	opts := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", e.ref.Name).String()}
	var obj runtime.Object
	switch e.ref.Kind {
	case KindTrustBundles:
		l, err := c.cfg.Client.CertificatesV1().ClusterTrustBundles().List(ctx, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		rv, obj = l.ResourceVersion, l
	case KindConfigMap:
		l, err := c.cfg.Client.CoreV1().ConfigMaps(e.ref.Namespace).List(ctx, opts)
		if err != nil {
			return "", err
		}
		rv = l.ResourceVersion
		for i := range l.Items {
			if l.Items[i].Name == e.ref.Name {
				obj = &l.Items[i]
			}
		}
	case KindSecret:
		l, err := c.cfg.Client.CoreV1().Secrets(e.ref.Namespace).List(ctx, opts)
		if err != nil {
			return "", err
		}
		rv = l.ResourceVersion
		for i := range l.Items {
			if l.Items[i].Name == e.ref.Name {
				obj = &l.Items[i]
			}
		}
	}
	c.set(e, obj)
	return rv, nil
}

func (c *Cache) watch(ctx context.Context, e *entry, rv string) error {
	opts := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", e.ref.Name).String(), ResourceVersion: rv, AllowWatchBookmarks: true}
	var w watch.Interface
	var err error
	switch e.ref.Kind {
	case KindTrustBundles:
		opts.FieldSelector = ""
		w, err = c.cfg.Client.CertificatesV1().ClusterTrustBundles().Watch(ctx, opts)
	case KindConfigMap:
		w, err = c.cfg.Client.CoreV1().ConfigMaps(e.ref.Namespace).Watch(ctx, opts)
	default:
		w, err = c.cfg.Client.CoreV1().Secrets(e.ref.Namespace).Watch(ctx, opts)
	}
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-w.ResultChan():
			if !ok {
				return errWatchEnded
			}
			if e.ref == allTrustBundles && ev.Type != watch.Error {
				c.mu.Lock()
				before, _ := e.obj.(*certificatesv1.ClusterTrustBundleList)
				c.mu.Unlock()
				c.set(e, applied(before, ev))
				continue
			}
			switch ev.Type {
			case watch.Added, watch.Modified:
				if m, ok := ev.Object.(metav1.Object); ok && m.GetName() == e.ref.Name {
					c.set(e, ev.Object)
				}
			case watch.Deleted:
				c.set(e, nil)
			case watch.Error:
				return apierrors.FromObject(ev.Object)
			}
		}
	}
}

var errWatchEnded = errors.New("watch ended")

func version(o runtime.Object) string {
	if l, ok := o.(*certificatesv1.ClusterTrustBundleList); ok && l != nil {
		return l.ResourceVersion
	}
	if m, ok := o.(metav1.Object); ok && o != nil {
		return m.GetResourceVersion()
	}
	return ""
}

// set takes the server's answer.
func (c *Cache) set(e *entry, obj runtime.Object) {
	c.mu.Lock()
	first := !e.known
	same := e.known && e.err == nil && version(e.obj) == version(obj)
	e.obj, e.err, e.known = obj, nil, true
	if first {
		close(e.ready)
	}
	users := c.users(e.ref)
	c.mu.Unlock()
	if same {
		return
	}
	c.save(e.ref, obj)
	if !first {
		for _, uid := range users {
			c.cfg.Changed(uid)
		}
	}
}

// failed notes that the server does not answer: what is known stays, and if nothing is, the disk's copy serves.
func (c *Cache) failed(e *entry, err error) {
	if errors.Is(err, errWatchEnded) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.obj != nil {
		return
	}
	if _, status := err.(apierrors.APIStatus); !status || apierrors.IsServiceUnavailable(err) {
		e.obj = c.load(e.ref)
	}
	e.err = fmt.Errorf("get %s %s/%s: %w", e.ref.Kind, e.ref.Namespace, e.ref.Name, err)
	if !e.known {
		e.known = true
		close(e.ready)
	}
}

func (c *Cache) users(r Ref) []types.UID {
	var out []types.UID
	for uid, refs := range c.pods {
		if refs[r] {
			out = append(out, uid)
		}
	}
	return out
}
