package fairness

import (
	"context"
	"hash/maphash"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

// Config of a Fairness. Everything has a default.
type Config struct {
	// Seats are how many ordinary requests run at once; default 600, as upstream's two limits add up to.
	Seats int
	// Wait is how long a request may wait for a seat; default 15 s, a quarter of the usual deadline.
	Wait time.Duration
	// Metrics registers what is counted; nil registers nothing.
	Metrics *prometheus.Registry
	Now     func() time.Time
	Log     *slog.Logger
}

// Fairness is safe for concurrent use.
type Fairness struct {
	cfg     Config
	seed    maphash.Seed
	metrics *metrics
	current atomic.Pointer[state]
	// reallocated is when the seats were divided last, in Unix nanoseconds: the cheap look whether it is time again.
	reallocated atomic.Int64

	// mu guards changes of the configuration, and divisions.
	mu      sync.Mutex
	divided time.Time
}

// state is one configuration. Immutable, but for what its levels hold.
type state struct {
	schemas []*schema
	levels  map[string]*level
	// catchAll takes what no FlowSchema matches, which the mandatory one of that name should have.
	catchAll *Class
}

// Class is what a request was found to be: its FlowSchema and its priority level. It lives as long as both do.
type Class struct {
	fairness *Fairness
	level    *level
	schema   string
	salt     uint64
	metrics  *classMetrics
	// uids as values of response headers, shared by all answers.
	schemaUID, levelUID []string

	// Guarded by the level's lock.
	running, waiting, seats int
}

// New starts nothing. Until Set is called, the objects of a new cluster are in force.
func New(cfg Config) (*Fairness, error) {
	if cfg.Seats <= 0 {
		cfg.Seats = 600
	}
	if cfg.Wait <= 0 {
		cfg.Wait = 15 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fairness{cfg: cfg, seed: maphash.MakeSeed(), metrics: newMetrics(), divided: cfg.Now()}
	f.current.Store(&state{levels: map[string]*level{}})
	if cfg.Metrics != nil {
		if err := f.metrics.register(cfg.Metrics, f); err != nil {
			return nil, err
		}
	}
	f.Set(Bootstrap())
	return f, nil
}

// Set puts a configuration into force. FlowSchemas whose level does not exist match nothing. Levels keep what they hold.
func (f *Fairness) Set(schemas []*flowcontrolv1.FlowSchema, levels []*flowcontrolv1.PriorityLevelConfiguration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.current.Load()
	next := &state{levels: map[string]*level{}}
	next.addLevels(f, old, levels)
	uids := map[string][]string{}
	for _, l := range levels {
		uids[l.Name] = []string{string(l.UID)}
	}
	for _, fs := range schemas {
		l := next.levels[fs.Spec.PriorityLevelConfiguration.Name]
		if l == nil {
			continue
		}
		class := old.class(fs.Name, l, string(fs.UID), uids[l.name])
		if class == nil {
			class = f.newClass(fs.Name, l, string(fs.UID), uids[l.name])
		}
		next.schemas = append(next.schemas, compile(fs, class))
		if fs.Name == flowcontrolv1.FlowSchemaNameCatchAll {
			next.catchAll = class
		}
	}
	sortSchemas(next.schemas)
	if next.catchAll == nil {
		next.catchAll = f.newClass(flowcontrolv1.FlowSchemaNameCatchAll, next.levels[flowcontrolv1.PriorityLevelConfigurationNameCatchAll], "", uids[flowcontrolv1.PriorityLevelConfigurationNameCatchAll])
	}
	f.current.Store(next)
	f.metrics.forget(old, next)
}

func (f *Fairness) newClass(name string, l *level, uid string, levelUID []string) *Class {
	return &Class{fairness: f, level: l, schema: name, salt: maphash.String(f.seed, name), metrics: f.metrics.class(l.name, name),
		schemaUID: []string{uid}, levelUID: levelUID}
}

// class finds the Class of an earlier configuration that is still right.
func (s *state) class(name string, l *level, uid string, levelUID []string) *Class {
	for _, have := range s.schemas {
		c := have.class
		if have.name == name && c.level == l && c.schemaUID[0] == uid && len(levelUID) == 1 && len(c.levelUID) == 1 && c.levelUID[0] == levelUID[0] {
			return c
		}
	}
	return nil
}

// addLevels makes or changes the levels. The mandatory two are always there.
func (s *state) addLevels(f *Fairness, old *state, levels []*flowcontrolv1.PriorityLevelConfiguration) {
	levels = withMandatory(levels)
	shares := 0.0
	for _, p := range levels {
		nominal, _ := sharesOf(p)
		shares += float64(nominal)
	}
	for _, p := range levels {
		l := old.levels[p.Name]
		if l == nil {
			l = &level{name: p.Name}
		}
		l.configure(configOf(p, shares, f.cfg.Seats))
		s.levels[p.Name] = l
	}
}

func withMandatory(levels []*flowcontrolv1.PriorityLevelConfiguration) []*flowcontrolv1.PriorityLevelConfiguration {
	have := map[string]bool{}
	for _, p := range levels {
		have[p.Name] = true
	}
	for _, p := range mandatoryLevels() {
		if !have[p.Name] {
			levels = append(levels[:len(levels):len(levels)], p)
		}
	}
	return levels
}

// defaultShares of a level that names none.
const defaultShares = 30

// sharesOf a level, and what percentage of them it lends.
func sharesOf(p *flowcontrolv1.PriorityLevelConfiguration) (shares, lendable int32) {
	pick := func(s, l *int32, otherwise int32) (int32, int32) {
		shares := otherwise
		if s != nil {
			shares = *s
		}
		if l != nil {
			return shares, *l
		}
		return shares, 0
	}
	switch {
	case p.Spec.Exempt != nil:
		return pick(p.Spec.Exempt.NominalConcurrencyShares, p.Spec.Exempt.LendablePercent, 0)
	case p.Spec.Limited != nil:
		return pick(p.Spec.Limited.NominalConcurrencyShares, p.Spec.Limited.LendablePercent, defaultShares)
	}
	return 0, 0
}

// configOf turns shares into seats, rounding up, so that the sum may be a few more than there are, as upstream does.
func configOf(p *flowcontrolv1.PriorityLevelConfiguration, allShares float64, seats int) levelConfig {
	shares, lendable := sharesOf(p)
	c := levelConfig{exempt: p.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt, most: seats}
	if allShares > 0 {
		c.nominal = int(math.Ceil(float64(seats) * float64(shares) / allShares))
	}
	c.least = c.nominal - int(math.Round(float64(c.nominal)*float64(lendable)/100))
	l := p.Spec.Limited
	if l == nil {
		return c
	}
	if l.BorrowingLimitPercent != nil {
		c.most = min(seats, c.nominal+int(math.Round(float64(c.nominal)*float64(*l.BorrowingLimitPercent)/100)))
	}
	if q := l.LimitResponse.Queuing; l.LimitResponse.Type == flowcontrolv1.LimitResponseTypeQueue && q != nil {
		c.queuing, c.queues, c.hand, c.queueLength = true, int(q.Queues), max(1, int(q.HandSize)), int(q.QueueLengthLimit)
	}
	return c
}

// Classify finds the first FlowSchema that matches. It never returns nil.
func (f *Fairness) Classify(r *Request) (*Class, uint64) {
	s := f.current.Load()
	name, groups := r.userName(), r.groups()
	for _, candidate := range s.schemas {
		if candidate.matches(r, name, groups) {
			return candidate.class, f.flow(candidate, r, name)
		}
	}
	return s.catchAll, f.flow(nil, r, name)
}

// flow is the hash of the FlowSchema and what tells its flows apart.
func (f *Fairness) flow(s *schema, r *Request, name string) uint64 {
	if s == nil {
		return maphash.String(f.seed, name)
	}
	switch s.by {
	case flowcontrolv1.FlowDistinguisherMethodByUserType:
		return s.class.salt ^ maphash.String(f.seed, name)
	case flowcontrolv1.FlowDistinguisherMethodByNamespaceType:
		return s.class.salt ^ maphash.String(f.seed, r.Namespace)
	}
	return s.class.salt
}

// Enter waits for the right to run. The error is a *Rejected.
func (c *Class) Enter(ctx context.Context, r *Request, flow uint64) (Ticket, error) {
	return c.level.enter(ctx, c, r, flow, max(1, r.Width), c.fairness)
}

// Names of the FlowSchema and of the priority level.
func (c *Class) Names() (schema, level string) { return c.schema, c.level.name }

// SetHeaders tells a client how its request was classified.
func (c *Class) SetHeaders(h http.Header) {
	h[headerSchema], h[headerLevel] = c.schemaUID, c.levelUID
}

var (
	headerSchema = http.CanonicalHeaderKey(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID)
	headerLevel  = http.CanonicalHeaderKey(flowcontrolv1.ResponseHeaderMatchedPriorityLevelConfigurationUID)
)

func (c *Class) reject(reason string, retryAfter int) error {
	c.metrics.rejected(reason).Inc()
	return &Rejected{Class: c, Reason: reason, RetryAfter: retryAfter}
}
