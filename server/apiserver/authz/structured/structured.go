package structured

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"

	"codeberg.org/skiff/skiff/server/apiserver/authz"
)

// lookEvery is how often the file is looked at.
const lookEvery = time.Minute

// Config of an Authorizer.
type Config struct {
	// File is an AuthorizationConfiguration; "": the flags count.
	File  string
	Flags Flags
	// BuiltIn are the authorizers that are no webhooks, by type: Node, RBAC.
	BuiltIn map[string]authz.Authorizer
	Log     *slog.Logger
}

// Authorizer asks the chain in force.
type Authorizer struct {
	file     string
	data     []byte
	builtIn  map[string]authz.Authorizer
	required []string
	compiler authorizationcel.Compiler
	log      *slog.Logger
	chain    atomic.Pointer[chain]
}

type chain struct {
	authz.Chain
	// webhooks says whether there are any, whose rules cannot be listed.
	webhooks bool
}

// New reads the file and makes the chain. It asks nobody.
func New(c Config) (*Authorizer, error) {
	a := &Authorizer{file: c.File, builtIn: maps.Clone(c.BuiltIn), compiler: authorizationcel.NewDefaultCompiler(), log: c.Log}
	a.builtIn[typeAlwaysAllow] = authz.AlwaysAllow
	a.builtIn[typeAlwaysDeny] = authz.Func(func(context.Context, *authz.Attributes) (authz.Decision, string) {
		return authz.NoOpinion, "Everything is forbidden."
	})
	var config *apiserver.AuthorizationConfiguration
	var err error
	switch {
	case c.File == "":
		config, err = c.Flags.configuration(a.types())
	case c.Flags.changed():
		return nil, fmt.Errorf("--authorization-config and the other --authorization-* flags exclude each other")
	default:
		if a.data, err = os.ReadFile(c.File); err == nil {
			config, err = parse(a.data, a.compiler, a.types(), nil)
		}
		if err != nil {
			err = fmt.Errorf("--authorization-config %s: %w", c.File, err)
		}
	}
	if err != nil {
		return nil, err
	}
	for _, one := range config.Authorizers {
		if one.Type != typeWebhook {
			a.required = append(a.required, string(one.Type))
		}
	}
	return a, a.use(config)
}

func (a *Authorizer) types() []string { return slices.Sorted(maps.Keys(a.builtIn)) }

func (a *Authorizer) use(config *apiserver.AuthorizationConfiguration) error {
	next := &chain{Chain: authz.Chain{authz.Masters}}
	for i := range config.Authorizers {
		one := &config.Authorizers[i]
		if one.Type != typeWebhook {
			next.Chain = append(next.Chain, a.builtIn[string(one.Type)])
			continue
		}
		hook, err := newWebhook(one, a.compiler)
		if err != nil {
			return fmt.Errorf("authorization webhook %s: %w", one.Name, err)
		}
		next.Chain, next.webhooks = append(next.Chain, hook), true
	}
	a.chain.Store(next)
	return nil
}

// Opinion of the chain in force.
func (a *Authorizer) Opinion(ctx context.Context, attributes *authz.Attributes) (authz.Decision, string) {
	return a.chain.Load().Opinion(ctx, attributes)
}

// Incomplete says why the rules of a user cannot be listed in full; "": they can.
func (a *Authorizer) Incomplete() string {
	if a.chain.Load().webhooks {
		return "webhook authorizer does not support user rule resolution"
	}
	return ""
}

// Run follows the file until ctx ends.
func (a *Authorizer) Run(ctx context.Context) error {
	if a.file == "" {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if changed, err := a.reload(); err != nil {
				a.log.Error("the changed authorization configuration is not used", "file", a.file, "error", err)
			} else if changed {
				a.log.Info("the authorization configuration is used as it was changed", "file", a.file)
			}
		}
	}
}

// reload takes a changed file into use. A file with mistakes is told once.
func (a *Authorizer) reload() (changed bool, err error) {
	data, err := os.ReadFile(a.file)
	if err != nil || bytes.Equal(data, a.data) {
		return false, err
	}
	a.data = data
	config, err := parse(data, a.compiler, a.types(), a.required)
	if err != nil {
		return false, err
	}
	return true, a.use(config)
}
