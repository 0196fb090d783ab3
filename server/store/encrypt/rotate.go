package encrypt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
)

// Step is where a rotation stands after it. Being cut off after any of them loses nothing: Resume goes on.
//
//	          add             promote            rewrite             drop
//	[A] ──────────▶ [A, B] ──────────▶ [B, A] ──────────▶ [B, A] ──────────▶ [B]
//	 values by A     values by A        values by A or B   values by B        values by B
//	                 B can be read      B is written with  A is needed no more
type Step string

// The steps, in order.
const (
	StepAdded     Step = "added"
	StepPromoted  Step = "promoted"
	StepRewriting Step = "rewriting"
	StepRewritten Step = "rewritten"
	StepDropped   Step = "dropped"
)

// Rewriter writes every value again that is not stored as the transformer in force would store it. It returns when all
// values that were sealed before the call are in that form. store.Store is one.
type Rewriter interface {
	Rewrite(ctx context.Context) (Rewritten, error)
	// Tally counts the stored values of all encrypted resources by their headers ("aesgcm skiff-1-…", "unencrypted").
	Tally(ctx context.Context) (map[string]int, error)
}

// Rewritten is what a Rewriter did.
type Rewritten struct {
	// Values written again, and values that no key opens; those are left as they are.
	Values, Unreadable int
}

// Config of a Rotator.
type Config struct {
	// File is looked after. Nil when the operator's own file is in force.
	File *File
	// Foreign is the operator's own file; "" when File is in force.
	Foreign string
	// After, for tests, is called after each step.
	After func(Step)
}

// Rotator changes keys while the server runs. Its methods are safe for concurrent use; one change runs at a time.
type Rotator struct {
	cfg  Config
	live *Live

	changing sync.Mutex // held during a change
	mu       sync.Mutex // guards the rest
	ring     ring
	running  string
	failed   error
	// retired keys still open values of the past, in etcd's history, until the process ends.
	retired *Transformer
}

// New reads the keys, or makes the first one.
func New(cfg Config) (*Rotator, error) {
	r := &Rotator{cfg: cfg}
	if cfg.File == nil {
		data, err := os.ReadFile(cfg.Foreign)
		if err != nil {
			return nil, fmt.Errorf("read EncryptionConfiguration: %w", err)
		}
		t, err := Parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cfg.Foreign, err)
		}
		r.live = NewLive(t)
		return r, nil
	}
	var err error
	if r.ring, err = cfg.File.load(); err != nil {
		return nil, err
	}
	t, err := build(r.ring.config())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.File.Path, err)
	}
	r.live = NewLive(t)
	return r, nil
}

// Live is the transformer for the store.
func (r *Rotator) Live() *Live { return r.live }

// ErrBusy: another change of the keys is going on.
var ErrBusy = errors.New("another change of the encryption keys is going on")

// ErrForeign: the keys are the operator's to change.
var ErrForeign = errors.New("the keys are in a file of your own (--encryption-provider-config); change it there, restart the server, then reencrypt")

// Rotate makes a new key, writes everything again with it and forgets the old one.
func (r *Rotator) Rotate(ctx context.Context, w Rewriter) (Rewritten, error) {
	return r.change("rotate", func() (Rewritten, error) {
		if _, err := r.finish(ctx, w); err != nil {
			return Rewritten{}, err
		}
		if r.ring.off {
			return Rewritten{}, errors.New("encryption is disabled; enable it first")
		}
		k, err := newKey(r.ring.newest() + 1)
		if err != nil {
			return Rewritten{}, err
		}
		if err := r.apply(r.ring.add(k), StepAdded); err != nil {
			return Rewritten{}, err
		}
		return r.finish(ctx, w)
	})
}

// Enable encrypts everything, Disable decrypts everything; the keys stay.
func (r *Rotator) Enable(ctx context.Context, w Rewriter) (Rewritten, error) {
	return r.change("enable", func() (Rewritten, error) { return r.turn(ctx, w, false) })
}

// Disable writes everything unencrypted.
func (r *Rotator) Disable(ctx context.Context, w Rewriter) (Rewritten, error) {
	return r.change("disable", func() (Rewritten, error) { return r.turn(ctx, w, true) })
}

func (r *Rotator) turn(ctx context.Context, w Rewriter, off bool) (Rewritten, error) {
	if _, err := r.finish(ctx, w); err != nil {
		return Rewritten{}, err
	}
	next := r.ring
	next.off = off
	if err := r.apply(next, StepPromoted); err != nil {
		return Rewritten{}, err
	}
	return r.finish(ctx, w)
}

// Resume finishes what was cut off, and encrypts what was stored before there were keys. A server calls it at each start;
// it writes nothing when there is nothing to do.
func (r *Rotator) Resume(ctx context.Context, w Rewriter) (Rewritten, error) {
	if r.cfg.File == nil {
		return Rewritten{}, nil // values are rewritten only when the operator says so
	}
	return r.change("resume", func() (Rewritten, error) { return r.finish(ctx, w) })
}

// Reencrypt writes everything again that is not in the form of the configuration in force.
func (r *Rotator) Reencrypt(ctx context.Context, w Rewriter) (Rewritten, error) {
	if r.cfg.File != nil {
		return r.Resume(ctx, w)
	}
	if !r.changing.TryLock() {
		return Rewritten{}, ErrBusy
	}
	defer r.changing.Unlock()
	return w.Rewrite(ctx)
}

// change runs one change at a time and remembers how it went.
func (r *Rotator) change(name string, do func() (Rewritten, error)) (Rewritten, error) {
	if r.cfg.File == nil {
		return Rewritten{}, ErrForeign
	}
	if !r.changing.TryLock() {
		return Rewritten{}, ErrBusy
	}
	defer r.changing.Unlock()
	r.note(name, nil)
	out, err := do()
	if err != nil {
		err = fmt.Errorf("%s encryption keys: %w", name, err)
	}
	r.note("", err)
	return out, err
}

func (r *Rotator) note(running string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running, r.failed = running, err
}

// finish goes on from whatever state the ring is in until one key is left and everything is written with it.
func (r *Rotator) finish(ctx context.Context, w Rewriter) (Rewritten, error) {
	if !r.ring.promoted() {
		if err := r.apply(r.ring.promote(), StepPromoted); err != nil {
			return Rewritten{}, err
		}
	}
	r.after(StepRewriting)
	done, err := w.Rewrite(ctx)
	if err != nil {
		return done, err
	}
	r.after(StepRewritten)
	if len(r.ring.keys) == 1 {
		return done, nil
	}
	return done, r.apply(r.ring.drop(), StepDropped)
}

// apply makes a ring the one in force: on disk first, so that nothing is ever sealed by a key that only memory knows.
func (r *Rotator) apply(next ring, step Step) error {
	t, err := build(next.config())
	if err != nil {
		return err
	}
	if err := r.cfg.File.save(next); err != nil {
		return err
	}
	r.mu.Lock()
	r.ring = next
	if step == StepDropped {
		r.retired = r.live.Current()
	}
	retired := r.retired
	r.mu.Unlock()
	r.live.Set(t.alsoOpens(retired))
	r.after(step)
	return nil
}

func (r *Rotator) after(s Step) {
	if r.cfg.After != nil {
		r.cfg.After(s)
	}
}

// alsoOpens is t, which opens what older opens as well.
func (t *Transformer) alsoOpens(older *Transformer) *Transformer {
	if older == nil {
		return t
	}
	out := &Transformer{rules: slices.Clone(t.rules), plugins: t.plugins}
	for i := range out.rules {
		providers := slices.Clone(out.rules[i].providers)
		for _, was := range older.rules {
			for _, p := range was.providers {
				if p.box != nil && !slices.ContainsFunc(providers, func(have provider) bool { return have.prefix == p.prefix }) {
					providers = append(providers, p)
				}
			}
		}
		out.rules[i].providers = providers
	}
	return out
}

// Status is what an operator wants to know.
type Status struct {
	// Enabled: new values are encrypted. File is where the keys are; Managed tells ours from the operator's own.
	Enabled bool   `json:"enabled"`
	Managed bool   `json:"managed"`
	File    string `json:"file"`
	// Key that is written with, and others that are still read with.
	Key   string   `json:"key,omitempty"`
	Older []string `json:"olderKeys,omitempty"`
	// Resources that are encrypted.
	Resources []string `json:"resources,omitempty"`
	// Running is the change that is going on; Failed is how the last one failed.
	Running string `json:"running,omitempty"`
	Failed  string `json:"failed,omitempty"`
	// Values counts what is stored, by provider and key.
	Values map[string]int `json:"values,omitempty"`
}

// Status of the keys and, if w is not nil, of what is stored.
func (r *Rotator) Status(ctx context.Context, w Rewriter) (Status, error) {
	r.mu.Lock()
	s := Status{Running: r.running}
	if r.failed != nil {
		s.Failed = r.failed.Error()
	}
	if r.cfg.File != nil {
		s.describe(r.cfg.File.Path, r.ring)
	} else {
		s.File = r.cfg.Foreign
		s.Enabled = r.live.Current().seals()
		if err := r.Health(); err != nil {
			s.Failed = err.Error()
		}
	}
	r.mu.Unlock()
	if w == nil {
		return s, nil
	}
	var err error
	s.Values, err = w.Tally(ctx)
	return s, err
}

func (s *Status) describe(file string, r ring) {
	s.File, s.Managed, s.Enabled, s.Resources, s.Key = file, true, !r.off, r.resources, r.keys[0].Name
	for _, k := range r.keys[1:] {
		s.Older = append(s.Older, k.Name)
	}
}

// seals: some rule writes encrypted values.
func (t *Transformer) seals() bool {
	return slices.ContainsFunc(t.rules, func(r rule) bool { return r.providers[0].box != nil })
}

// FileStatus is the Status of a server that does not run. It makes no file.
func FileStatus(path string) (Status, error) {
	if _, err := os.Stat(path); err != nil {
		return Status{}, err
	}
	r, err := (&File{Path: path}).load()
	if err != nil {
		return Status{}, err
	}
	var s Status
	s.describe(path, r)
	return s, nil
}
