package oidc

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/pki"
)

// Authenticator knows the tokens of all configured issuers. Safe for concurrent use.
type Authenticator struct {
	issuers map[string]*issuer
	log     *slog.Logger
	// Anonymous is what the configuration file says of callers without credentials; nil when it says nothing.
	Anonymous *AnonymousConfig
}

// issuer is one element of the configuration.
type issuer struct {
	*provider
	config apiserver.JWTAuthenticator
	rules  authenticationcel.CELMapper
}

// New reads the configuration. It reaches no network: Run does.
func New(c Config, now func() time.Time, log *slog.Logger) (*Authenticator, error) {
	file, err := c.read()
	if err != nil {
		return nil, err
	}
	algs := algorithms
	if c.File == "" {
		if algs = c.Flags.SigningAlgs; len(algs) == 0 {
			algs = []string{"RS256"}
		}
	}
	a := &Authenticator{issuers: map[string]*issuer{}, log: log, Anonymous: file.Anonymous}
	for _, config := range file.JWT {
		rules, errs := validation.CompileAndValidateJWTAuthenticator(authenticationcel.NewDefaultCompiler(), config, c.OwnIssuers)
		if len(errs) > 0 {
			return nil, fmt.Errorf("issuer %s: %w", config.Issuer.URL, errs.ToAggregate())
		}
		p, err := newProvider(&config.Issuer, algs, now)
		if err != nil {
			return nil, err
		}
		a.issuers[config.Issuer.URL] = &issuer{provider: p, config: config, rules: rules}
	}
	return a, nil
}

// Run reaches for the providers until all have answered, and returns when ctx ends.
func (a *Authenticator) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, i := range a.issuers {
		all.Go(func() { a.reach(ctx, i) })
	}
	<-ctx.Done()
	all.Wait()
	return nil
}

func (a *Authenticator) reach(ctx context.Context, i *issuer) {
	for told := false; ; told = true {
		err := i.connect(ctx)
		if err == nil {
			if told {
				a.log.Info("the OIDC provider answers now", "issuer", i.issuer)
			}
			return
		}
		if ctx.Err() != nil {
			return
		}
		if !told {
			a.log.Warn("the OIDC provider does not answer; its tokens are refused until it does", "issuer", i.issuer, "error", err)
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return
		}
	}
}

// maxToken bounds what is parsed.
const maxToken = 64 << 10

// Find says whose a token is: nil if none of the issuers made it.
func (a *Authenticator) Find(ctx context.Context, token string) (user.Info, error) {
	if len(a.issuers) == 0 || len(token) > maxToken {
		return nil, nil
	}
	i := a.issuers[pki.IssuerOf(token)]
	if i == nil {
		return nil, nil
	}
	u, err := i.authenticate(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("oidc: %w", err)
	}
	return u, nil
}

func (i *issuer) authenticate(ctx context.Context, token string) (user.Info, error) {
	verifier := i.verifier.Load()
	if verifier == nil {
		return nil, fmt.Errorf("the provider of issuer %q has not answered yet", i.issuer)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	id, err := verifier.Verify(ctx, token)
	if err != nil {
		return nil, fmt.Errorf("verify token: %w", err)
	}
	if !slices.ContainsFunc(id.Audience, func(have string) bool { return slices.Contains(i.config.Issuer.Audiences, have) }) {
		return nil, fmt.Errorf("verify token: expected audience in %q got %q", i.config.Issuer.Audiences, id.Audience)
	}
	c := claims{}
	if err := id.Claims(&c); err != nil {
		return nil, fmt.Errorf("parse claims: %w", err)
	}
	return i.user(ctx, c)
}
