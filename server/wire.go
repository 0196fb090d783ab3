package server

import (
	"net"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/apiserver"
	"codeberg.org/skiff/skiff/server/apiserver/audit"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/apiserver/authz/structured"
	"codeberg.org/skiff/skiff/server/apiserver/fairness"
	"codeberg.org/skiff/skiff/server/apiserver/node"
	"codeberg.org/skiff/skiff/server/apiserver/rbac"
	"codeberg.org/skiff/skiff/server/apiserver/review"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/csrsigning"
	"codeberg.org/skiff/skiff/server/controller/nodeipam"
	"codeberg.org/skiff/skiff/server/controller/table"
	"codeberg.org/skiff/skiff/server/customresource"
	"codeberg.org/skiff/skiff/server/outbound"
	"codeberg.org/skiff/skiff/server/pki"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/action"
	"codeberg.org/skiff/skiff/server/scheduler"
)

func goVersion() string { return runtime.Version() }

// wireAPI puts registry and API server together.
func (s *Server) wireAPI() error {
	limitPatches()
	now := s.cfg.Now
	roles := rbac.New(s.catalogue, s.store.Snapshot)
	nodes := node.New(s.catalogue, s.store.Snapshot)
	authorization, err := structured.New(structured.Config{File: s.cfg.AuthorizationConfig, Flags: s.cfg.Authorization,
		BuiltIn: map[string]authz.Authorizer{"Node": nodes, "RBAC": roles}, Log: s.cfg.Log.With("component", "authorization")})
	if err != nil {
		return err
	}
	s.authorization = authorization
	chain := authz.Chain{authorization}
	if err := s.wireOutbound(); err != nil {
		return err
	}

	plugins, err := s.newAdmission(chain, roles)
	if err != nil {
		return err
	}
	if err := s.wireAuthentication(); err != nil {
		return err
	}
	actions := append(action.Table(action.Config{SignToken: s.signToken, Audiences: s.tokens.Audiences(), MaxExpiration: s.cfg.ServiceAccountMaxExpiration}),
		review.Actions(review.Config{Authorizer: chain, Rules: roles.RulesFor, Incomplete: authorization.Incomplete, Token: s.authentication.bearers.Token})...)

	metrics := prometheus.NewRegistry()
	s.metrics = metrics
	s.registry, err = registry.New(registry.Config{Catalogue: s.catalogue, Store: s.store, Admission: plugins, Actions: actions, Metrics: metrics,
		Now: now, Log: s.cfg.Log.With("component", "registry")})
	if err != nil {
		return err
	}
	if err := s.wireJoining(); err != nil {
		return err
	}
	if err := metrics.Register(s.store); err != nil {
		return err
	}
	if s.fairness, err = s.newFairness(metrics); err != nil {
		return err
	}
	s.joining.handlers[fairness.DebugPath] = s.fairness
	if s.aggregator, err = s.newAggregator(chain, metrics); err != nil {
		return err
	}
	log := s.cfg.Audit
	log.Metrics, log.Now, log.Log = metrics, now, s.cfg.Log.With("component", "audit")
	if s.audit, err = audit.New(log); err != nil {
		return err
	}
	s.openLogs()
	s.apiserver, err = apiserver.New(apiserver.Config{
		Registry: s.registry, Catalogue: s.catalogue, Store: s.store,
		Listen:         net.JoinHostPort(s.cfg.BindAddress, strconv.Itoa(s.cfg.Port)),
		GetCertificate: s.serving.GetCertificate, ClientCAs: s.clientCAs(), MinTLS: s.cfg.TLS.min, CipherSuites: s.cfg.TLS.suites,
		Authenticators: s.authentication.chain, Anonymous: s.authentication.anonymous, Authorizers: chain,
		Version:  versionInfo(),
		CABundle: s.ca.PEM, OpenIDConfiguration: s.openID, JWKS: s.jwks,
		DialNode: s.dialNode, KubeletTLS: s.kubeletTLS,
		Checks: s.checks(), LoopChecks: s.loopChecks, Flags: s.cfg.Flags, Logs: s.logs,
		Extra: s.joining.handlers, PublicPaths: s.joining.public,
		Fairness: s.fairness, Aggregator: s.aggregator, Metrics: metrics, Audit: s.audit,
		RequestTimeout: s.cfg.RequestTimeout, Now: now, Log: s.cfg.Log,
	})
	if err != nil {
		return err
	}
	s.aggregator.PublishTo(s.apiserver.Discovery(), s.apiserver.OpenAPI())
	unnamed := client.New(s.registry, s.store, s.catalogue, chain, system)
	s.recorder = client.NewRecorder(unnamed, now, s.cfg.Log.With("component", "events"))
	s.client = unnamed.WithRecorder(s.recorder).WithAudit(s.auditInternal)
	return nil
}

// wireOutbound makes the way to webhooks, and what serves definitions, whose objects they may convert.
func (s *Server) wireOutbound() (err error) {
	s.outbound = outbound.New(outbound.Config{Catalogue: s.catalogue, Snapshot: s.store.Snapshot, Dial: s.dialNode, FrontProxy: s.frontProxy.GetClientCertificate})
	s.definitions, err = customresource.NewDefinitions(customresource.Config{Store: s.store, Catalogue: s.catalogue, Hooks: s.outbound, Log: s.cfg.Log})
	return err
}

// wireLoops puts controllers and scheduler together.
func (s *Server) wireLoops() (err error) {
	var ranges []nodeipam.Range
	for _, p := range s.network.cluster {
		bits := wellknown.DefaultNodeMaskIPv4
		if p.Addr().Is6() {
			bits = wellknown.DefaultNodeMaskIPv6
		}
		ranges = append(ranges, nodeipam.Range{Cluster: p, NodeBits: bits})
	}
	list := table.Controllers
	if s.cfg.DisableControllers {
		list = table.OfAPIServer
	}
	controllers := list(table.Config{Now: s.cfg.Now, CABundle: s.ca.PEM(), NodeRanges: ranges, ServiceRanges: s.network.service, NodeLifecycle: s.cfg.Controllers.nodeLifecycle(),
		TerminatedPodThreshold: s.cfg.Controllers.TerminatedPodThreshold, LegacyTokenPeriod: s.cfg.Controllers.LegacyTokenPeriod,
		Signing:         csrsigning.Config{Sign: s.ca.SignTemplate, SignServing: s.kubeletCA.SignTemplate, CheckServing: s.checkServing},
		KubeletCABundle: s.kubeletCA.PEM(), IssueToken: s.tokens.IssueLegacy, Foreign: foreign{s}})
	if s.engine, err = controller.New(controller.Config{Client: s.client, Controllers: controllers, Now: s.cfg.Now, Log: s.cfg.Log}); err != nil {
		return err
	}
	if err := s.metrics.Register(s.engine); err != nil {
		return err
	}
	if s.scheduler, err = scheduler.New(scheduler.Config{Client: s.client.As(&user.DefaultInfo{Name: wellknown.UserScheduler, Groups: []string{wellknown.GroupAuthenticated}}), Now: s.cfg.Now, Log: s.cfg.Log}); err != nil {
		return err
	}
	return s.metrics.Register(s.scheduler)
}

// signToken answers a TokenRequest.
func (s *Server) signToken(c action.Claims) (token string, expires time.Time, err error) {
	return s.tokens.Issue(pki.TokenClaims(c))
}
