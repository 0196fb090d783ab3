package encrypt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	configv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"codeberg.org/skiff/skiff/server/store/encrypt/kms"
)

// How often a plugin is asked whether it is well and which key it wants to be used.
const (
	askWell = time.Minute
	askIll  = 10 * time.Second
)

// plugin is a box whose keys a key management service looks after.
type plugin struct{ *kms.Provider }

func (p plugin) seal(dst, plain, data []byte) ([]byte, error) { return p.Seal(dst, plain, data) }
func (p plugin) open(sealed, data []byte) ([]byte, error)     { return p.Open(sealed, data) }

// stale tells that the plugin uses another key by now.
func (p plugin) stale(sealed []byte) bool { return p.Stale(sealed) }

func kmsProvider(c *configv1.KMSConfiguration) ([]provider, error) {
	if c == nil {
		return nil, errors.New("no provider that is known")
	}
	if c.APIVersion != "v2" {
		return nil, fmt.Errorf("kms provider %s: apiVersion %s is not there, as upstream has turned it off; use v2", c.Name, c.APIVersion)
	}
	p, err := kms.New(kms.Config{Name: c.Name, Endpoint: c.Endpoint, Timeout: c.Timeout.Duration})
	if err != nil {
		return nil, fmt.Errorf("kms provider %s: %w", c.Name, err)
	}
	return []provider{{prefix: magic + "kms:v2:" + c.Name + ":", box: plugin{p}}}, nil
}

// Reopener writes again, as they are, the values that could not be opened and can be now, so that everybody sees them. It
// returns how many. store.Store is one.
type Reopener interface {
	Reopen(ctx context.Context) (int, error)
}

// Prepare asks the plugins for their keys, so that what is stored can be opened and sealed from the start. A plugin that
// does not answer is asked again by Run. It takes no longer than a few seconds.
func (r *Rotator) Prepare(ctx context.Context) error {
	var all sync.WaitGroup
	plugins := r.live.Current().plugins
	errs := make([]error, len(plugins))
	for i, p := range plugins {
		all.Go(func() { errs[i] = p.Check(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Health is what is wrong with the plugins.
func (r *Rotator) Health() error {
	var errs []error
	for _, p := range r.live.Current().plugins {
		errs = append(errs, p.Health())
	}
	return errors.Join(errs...)
}

// HasPlugins says whether keys come from plugins.
func (r *Rotator) HasPlugins() bool { return len(r.live.Current().plugins) > 0 }

// Run asks the plugins until ctx ends, and closes their connections then.
func (r *Rotator) Run(ctx context.Context, store Reopener, log *slog.Logger) error {
	var all sync.WaitGroup
	for _, p := range r.live.Current().plugins {
		all.Go(func() { follow(ctx, p, store, log) })
	}
	<-ctx.Done()
	all.Wait()
	return nil
}

// follow asks one plugin. When it is well after it was not, what it could not open is tried again, until that succeeds.
func follow(ctx context.Context, p *kms.Provider, store Reopener, log *slog.Logger) {
	defer p.Close()
	well := p.Health() == nil
	reopened := well
	if !well {
		log.Error("a kms plugin does not work: what it has sealed cannot be read, and what it should seal cannot be written", "error", p.Health())
	}
	for {
		wait := askWell
		if !well || !reopened {
			wait = askIll
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		err := p.Check(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && well {
			log.Error("a kms plugin does not work any more; its key is good for three minutes", "error", err)
			reopened = false
		}
		if err == nil && !well {
			log.Info("the kms plugin works again", "provider", p.Name())
		}
		if well = err == nil; well && !reopened {
			n, err := store.Reopen(ctx)
			if reopened = err == nil; err != nil {
				log.Warn("values that could not be opened are still hidden", "error", err)
			} else if n > 0 {
				log.Info("values that could not be opened are there again", "values", n)
			}
		}
	}
}
