package server

import (
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/apiserver"
	"codeberg.org/skiff/skiff/server/apiserver/authn"
	"codeberg.org/skiff/skiff/server/apiserver/authz"
	"codeberg.org/skiff/skiff/server/apiserver/fairness"
	"codeberg.org/skiff/skiff/server/apiserver/node"
	"codeberg.org/skiff/skiff/server/apiserver/rbac"
	"codeberg.org/skiff/skiff/server/apiserver/review"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/controller/nodeipam"
	"codeberg.org/skiff/skiff/server/controller/table"
	"codeberg.org/skiff/skiff/server/outbound"
	"codeberg.org/skiff/skiff/server/pki"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/action"
	"codeberg.org/skiff/skiff/server/registry/admission"
	"codeberg.org/skiff/skiff/server/scheduler"
)

func goVersion() string { return runtime.Version() }

// wireAPI puts registry and API server together.
func (s *Server) wireAPI() error {
	now := s.cfg.Now
	roles := rbac.New(s.catalogue, s.store.Snapshot)
	nodes := node.New(s.catalogue, s.store.Snapshot)
	accounts := authn.NewServiceAccounts(s.tokens, s.catalogue, s.store.Snapshot, now)
	chain := authz.Chain{authz.Masters, nodes, roles}
	s.outbound = outbound.New(outbound.Config{Catalogue: s.catalogue, Snapshot: s.store.Snapshot, Dial: s.dialNode, FrontProxy: s.frontProxy.GetClientCertificate})

	plugins, err := admission.Table(admission.Config{
		Store: s.store, Catalogue: s.catalogue, ServiceCIDRs: s.network.service,
		ReservedIPs: []netip.Addr{s.network.dns, s.network.apiService}, NodePortRange: s.cfg.NodePortRange,
	})
	if err != nil {
		return err
	}
	plugins = append(plugins, roles.Escalation(chain))
	authenticators := []authn.Authenticator{authn.NewCertificates(s.ca.Pool(), now), accounts}
	actions := append(action.Table(action.Config{SignToken: s.signToken}),
		review.Actions(review.Config{Authorizer: chain, Rules: roles.RulesFor, Token: tokenReview(accounts)})...)

	s.registry, err = registry.New(registry.Config{Catalogue: s.catalogue, Store: s.store, Admission: plugins, Actions: actions,
		Now: now, Log: s.cfg.Log.With("component", "registry")})
	if err != nil {
		return err
	}
	if err := s.wireJoining(); err != nil {
		return err
	}
	metrics := prometheus.NewRegistry()
	if s.fairness, err = s.newFairness(metrics); err != nil {
		return err
	}
	s.joining.handlers[fairness.DebugPath] = s.fairness
	s.apiserver, err = apiserver.New(apiserver.Config{
		Registry: s.registry, Catalogue: s.catalogue, Store: s.store,
		Listen:         net.JoinHostPort(s.cfg.BindAddress, strconv.Itoa(s.cfg.Port)),
		GetCertificate: s.serving.GetCertificate, ClientCAs: s.ca.Pool(),
		Authenticators: authenticators, Authorizers: chain,
		Version:  versionInfo(),
		CABundle: s.ca.PEM, OpenIDConfiguration: s.openID, JWKS: s.jwks,
		DialNode: s.dialNode, KubeletTLS: s.kubeletTLS,
		Extra: s.joining.handlers, PublicPaths: s.joining.public,
		Fairness: s.fairness, Metrics: metrics,
		Now: now, Log: s.cfg.Log,
	})
	if err != nil {
		return err
	}
	unnamed := client.New(s.registry, s.store, s.catalogue, chain, system)
	s.recorder = client.NewRecorder(unnamed, now, s.cfg.Log.With("component", "events"))
	s.client = unnamed.WithRecorder(s.recorder)
	return nil
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
	controllers := list(table.Config{Now: s.cfg.Now, CABundle: s.ca.PEM(), NodeRanges: ranges, ServiceRanges: s.network.service, NodeGrace: s.cfg.NodeGrace})
	if s.engine, err = controller.New(controller.Config{Client: s.client, Controllers: controllers, Now: s.cfg.Now, Log: s.cfg.Log}); err != nil {
		return err
	}
	s.scheduler, err = scheduler.New(scheduler.Config{Client: s.client.As(&user.DefaultInfo{Name: wellknown.UserScheduler, Groups: []string{wellknown.GroupAuthenticated}}), Now: s.cfg.Now, Log: s.cfg.Log})
	return err
}

// signToken answers a TokenRequest.
func (s *Server) signToken(c action.Claims) (token string, expires time.Time, err error) {
	return s.tokens.Issue(pki.TokenClaims(c))
}

// tokenReview answers a TokenReview: whose a token is, and for which of the audiences asked it is good.
func tokenReview(accounts *authn.ServiceAccounts) func(string, []string) (user.Info, []string, error) {
	return func(token string, audiences []string) (user.Info, []string, error) {
		u, verified, err := accounts.Check(token, audiences)
		if err != nil {
			return nil, nil, err
		}
		if len(audiences) == 0 {
			return u, verified.Audiences, nil
		}
		return u, slices.DeleteFunc(slices.Clone(audiences), func(a string) bool { return !slices.Contains(verified.Audiences, a) }), nil
	}
}
