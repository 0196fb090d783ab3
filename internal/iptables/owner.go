package iptables

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// The writers' prefixes.
const (
	Services = wellknown.ChainPrefix + "SVC-"
	Network  = wellknown.ChainPrefix + "NET-"
)

// Order is that of the writers' jumps in a built-in chain. Services come first: what they refuse must not be accepted
// as a pod's traffic before.
var Order = []string{Services, Network}

const (
	// settle is how long after the first foreign change others are waited for: a firewall tool makes many.
	settle = 100 * time.Millisecond
	// pollEvery is how often the legacy backend, which tells nobody of changes, is asked for the size of its tables.
	pollEvery = 700 * time.Millisecond
	// lookEvery is how often the jumps themselves are looked for where neither events nor sizes can be had.
	lookEvery  = time.Minute
	retryFirst = 500 * time.Millisecond
	retryLast  = 30 * time.Second
)

// Owner has the writers of a machine's rules, and puts back what others remove: firewalld, ufw and the like flush the
// built-in chains when they load their own rules.
type Owner struct {
	log *slog.Logger

	mu      sync.Mutex
	writers []*Writer
	pids    []int // processes that wrote for us, the last few
	grown   chan struct{}
}

// NewOwner makes an owner without writers.
func NewOwner(log *slog.Logger) *Owner {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Owner{log: log, grown: make(chan struct{}, 1)}
}

// Writer returns the writer of a family's chains that begin with prefix; the same one every time.
func (o *Owner) Writer(family Family, prefix string) *Writer {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.writers {
		if w.host.Family == family && w.prefix == prefix {
			return w
		}
	}
	w := NewWriter(Host{Family: family, started: o.started}, prefix)
	w.wrote = o.wake
	o.writers = append(o.writers, w)
	return w
}

// started notes a process of ours, so that what it does is not taken for somebody else's doing.
func (o *Owner) started(pid int) {
	const kept = 64
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pids = append(o.pids, pid)
	if len(o.pids) > kept {
		o.pids = slices.Delete(o.pids, 0, len(o.pids)-kept)
	}
}

func (o *Owner) wake() {
	select {
	case o.grown <- struct{}{}:
	default:
	}
}

// Run puts back what others remove until ctx ends. It writes nothing that a writer did not write before.
func (o *Owner) Run(ctx context.Context) error {
	changes, err := watchRuleset(ctx)
	if err != nil {
		o.log.Warn("the kernel does not tell of changed rules; they are looked at every minute", "error", err)
	}
	events := err == nil
	sizes, looked := sizes{}, time.Now()
	var retry, poll <-chan time.Time
	delay := retryFirst
	for {
		var touched []touch
		select {
		case <-ctx.Done():
			return nil
		case t, ok := <-changes:
			if !ok { // the socket broke
				changes, events = nil, false
			}
			touched = o.foreign(ctx, t, changes)
			if len(touched) == 0 && ok {
				continue
			}
		case <-o.grown: // a writer that needs polling, perhaps
			if poll == nil {
				poll = o.pollTimer(events)
			}
			continue
		case <-poll:
			touched = o.changedSizes(sizes, &looked)
		case <-retry:
			touched = []touch{{}}
		}
		retry = nil
		if err := o.restore(ctx, touched); err != nil && ctx.Err() == nil {
			o.log.Error("rules that somebody removed are not back", "error", err, "retryIn", delay)
			retry, delay = time.After(delay), min(2*delay, retryLast)
		} else {
			delay = retryFirst
		}
		poll = o.pollTimer(events)
	}
}

// pollTimer is nil where events tell everything.
func (o *Owner) pollTimer(events bool) <-chan time.Time {
	switch {
	case len(o.legacy()) > 0:
		return time.After(pollEvery)
	case !events:
		return time.After(lookEvery)
	}
	return nil
}

// changedSizes says which families' tables have another size than at the last look; our own writes are not told from others'. Now and
// then it is all of them: a change that left the size alone would go unseen.
func (o *Owner) changedSizes(have sizes, looked *time.Time) (touched []touch) {
	for _, f := range have.read(o.legacy()) {
		touched = append(touched, touch{family: f})
	}
	if time.Since(*looked) >= lookEvery {
		*looked, touched = time.Now(), append(touched, touch{})
	}
	return touched
}

// legacy are the families that are written by the legacy backend.
func (o *Owner) legacy() (families []Family) {
	for _, w := range o.all() {
		if w.legacy.Load() && !slices.Contains(families, w.host.Family) {
			families = append(families, w.host.Family)
		}
	}
	return families
}

func (o *Owner) all() []*Writer {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.writers)
}

// foreign collects changes for a moment and leaves out our own.
func (o *Owner) foreign(ctx context.Context, first change, more <-chan change) (touched []touch) {
	all := []change{first}
	timer := time.NewTimer(settle)
	defer timer.Stop()
	for waiting := o.concerns(first); waiting; {
		select {
		case c, ok := <-more:
			if waiting = ok; ok {
				all = append(all, c)
			}
		case <-timer.C:
			waiting = false
		case <-ctx.Done():
			return nil
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range all {
		if !slices.Contains(o.pids, c.pid) && !c.likelyOurs() {
			touched = append(touched, c.touched...)
		}
	}
	return touched
}

// concerns tells whether a change touches what any writer has written: if not, nothing has to be waited for.
func (o *Owner) concerns(c change) bool {
	for _, w := range o.all() {
		if slices.ContainsFunc(c.touched, w.concerns) {
			return true
		}
	}
	return false
}

func (o *Owner) restore(ctx context.Context, touched []touch) error {
	var errs []error
	for _, w := range o.all() {
		mine := slices.DeleteFunc(slices.Clone(touched), func(t touch) bool { return !w.concerns(t) })
		if len(mine) == 0 && !w.unsure() {
			continue
		}
		restored, err := w.restore(ctx, mine)
		if restored {
			o.log.Warn("somebody changed rules of skiff; they are written again", "family", int(w.host.Family), "chains", w.prefix+"*")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
