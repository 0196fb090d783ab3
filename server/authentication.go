package server

import (
	"context"
	"errors"
	"net/http"
	"path"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/server/aggregation"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/authn"
	"codeberg.org/skiff/skiff/server/apiserver/authn/oidc"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/pki"
)

// authentication is everything that says who calls.
type authentication struct {
	chain []authn.Authenticator
	// bearers are the tokens of the chain, for TokenReviews.
	bearers authn.Bearers
	oidc    *oidc.Authenticator
	// anonymous tells on which paths callers may be so.
	anonymous func(path string) bool
	// used carries Secrets whose tokens are used to what labels them.
	used chan [2]string
}

func (s *Server) wireAuthentication() (err error) {
	now, audiences := s.cfg.Now, s.tokens.Audiences()
	a := &s.authentication
	accounts := authn.NewServiceAccounts(s.tokens, s.catalogue, s.store.Snapshot, now)
	a.used = make(chan [2]string, 16)
	accounts.Used = func(namespace, secret string) {
		select {
		case a.used <- [2]string{namespace, secret}:
		default: // the next request tells again
		}
	}
	a.bearers = authn.Bearers{accounts}
	if s.cfg.TokenAuthFile != "" {
		find, err := authn.TokenFile(s.cfg.TokenAuthFile)
		if err != nil {
			return err
		}
		a.bearers = append(a.bearers, authn.ForServer(audiences, find))
	}
	a.bearers = append(a.bearers, authn.ForServer(audiences, authn.BootstrapTokens(s.catalogue, s.store.Snapshot, now)))
	if a.oidc, err = oidc.New(oidc.Config{File: s.cfg.AuthenticationConfig, Flags: s.cfg.OIDC, OwnIssuers: s.cfg.ServiceAccountIssuers},
		now, s.cfg.Log.With("component", "oidc")); err != nil {
		return err
	}
	a.bearers = append(a.bearers, authn.ForServer(audiences, a.oidc.Find))
	if hook := s.cfg.TokenWebhook; hook.File != "" {
		source, err := authn.NewWebhook(hook, audiences)
		if err != nil {
			return err
		}
		a.bearers = append(a.bearers, source) // last: whose tokens are known here are not sent out
	}
	if a.anonymous, err = s.cfg.anonymous(a.oidc.Anonymous); err != nil {
		return err
	}
	a.chain = []authn.Authenticator{authn.RequestHeader(s.frontCA.Pool(), []string{aggregation.FrontProxyName}, now), authn.NewCertificates(s.userPool(), now), a.bearers}
	return nil
}

// anonymous is what the flag and the file say together.
func (c *Config) anonymous(file *oidc.AnonymousConfig) (func(path string) bool, error) {
	if file == nil {
		return func(string) bool { return c.AnonymousAuth }, nil
	}
	if !c.AnonymousAuth {
		return nil, errors.New("--anonymous-auth and anonymous of the AuthenticationConfiguration exclude each other")
	}
	paths := map[string]bool{}
	for _, condition := range file.Conditions {
		paths[condition.Path] = true
	}
	return func(path string) bool { return file.Enabled && (len(paths) == 0 || paths[path]) }, nil
}

// labelUsedTokens writes into Secrets with tokens that they are used, once a day, so that those which are not can be found.
func (s *Server) labelUsedTokens(ctx context.Context) error {
	last := map[[2]string]string{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case name := <-s.authentication.used:
			today := s.cfg.Now().UTC().Format(time.DateOnly)
			secret, ok := client.Get[*corev1.Secret](s.client.Snapshot(), name[0], name[1])
			if !ok || last[name] == today || secret.Labels[authn.LabelLastUsed] == today {
				continue
			}
			if len(last) > 1000 {
				clear(last)
			}
			last[name] = today // also if it fails: the label is not worth a second try
			_, err := s.client.Mutate(ctx, secret, "", func(obj api.Object) error {
				labels := map[string]string{authn.LabelLastUsed: today}
				for key, v := range obj.GetLabels() {
					if key != authn.LabelLastUsed {
						labels[key] = v
					}
				}
				obj.SetLabels(labels)
				return nil
			})
			if err != nil {
				s.cfg.Log.Debug("a used token is not labelled", "namespace", name[0], "secret", name[1], "error", err)
			}
		}
	}
}

// serviceAccountKeysPath is below the API server's address; POST …/rotate makes a new signing key.
const serviceAccountKeysPath = "/v1-skiff/service-account-keys/"

// serviceAccountKeysHandler is behind authorization, like encryptionHandler.
func (s *Server) serviceAccountKeysHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || path.Base(r.URL.Path) != "rotate" {
			http.Error(w, "POST …/rotate", http.StatusMethodNotAllowed)
			return
		}
		if err := s.tokens.Rotate(); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		s.cfg.Log.Info("service-account tokens are signed with a new key", "keys", len(s.tokens.JWKS()))
		_, _ = w.Write([]byte("signed with a new key from now on; tokens of the old one stay good until they expire\n"))
	})
}

// tokenConfig is what the flags say of service-account tokens.
func (s *Server) tokenConfig() pki.TokenConfig {
	return pki.TokenConfig{Dir: s.cfg.Paths.TLS(), Issuers: s.cfg.ServiceAccountIssuers, Audiences: s.cfg.APIAudiences,
		SigningKeyFile: s.cfg.ServiceAccountSigningKeyFile, KeyFiles: s.cfg.ServiceAccountKeyFiles, Now: s.cfg.Now}
}
