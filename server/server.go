package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	buildversion "codeberg.org/skiff/skiff/internal/version"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/aggregation"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver"
	"codeberg.org/skiff/skiff/server/apiserver/audit"
	"codeberg.org/skiff/skiff/server/apiserver/authz/structured"
	"codeberg.org/skiff/skiff/server/apiserver/fairness"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/customresource"
	"codeberg.org/skiff/skiff/server/outbound"
	"codeberg.org/skiff/skiff/server/pki"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/scheduler"
	"codeberg.org/skiff/skiff/server/store"
	"codeberg.org/skiff/skiff/server/store/encrypt"
)

// Server is one control plane process. See doc.go.
type Server struct {
	cfg     Config
	network network
	// address is the advertised one; moved says that it has changed.
	address atomic.Pointer[netip.Addr]
	moved   chan struct{}

	keys    *pki.Folder
	ca      *pki.CA
	frontCA *pki.CA
	// kubeletCA signs the serving certificates of kubelets, which only servers accept.
	kubeletCA *pki.CA
	tokens    *pki.TokenIssuer
	serving   *pki.Rotating
	kubelet   *pki.Rotating // our identity towards kubelets
	// frontProxy is our identity towards aggregated API servers, which believe its request headers.
	frontProxy *pki.Rotating

	catalogue *api.Catalogue
	store     *store.Store
	// encryption looks after the keys of what etcd holds.
	encryption     *encrypt.Rotator
	authentication authentication
	authorization  *structured.Authorizer
	registry       *registry.Registry
	apiserver      *apiserver.Server
	audit          *audit.Log
	metrics        *prometheus.Registry
	fairness       *fairness.Fairness
	// definitions serves the kinds of stored CustomResourceDefinitions.
	definitions *customresource.Definitions
	outbound    *outbound.Client // to webhooks and aggregated API servers
	client      *client.Client   // of system:apiserver
	recorder    *client.Recorder
	engine      *controller.Engine
	scheduler   *scheduler.Scheduler
	joining     joining

	aggregator *aggregation.Aggregator
	logs       fs.FS // nil when there is no such folder

	ready chan struct{}
}

// New reads or makes the cluster's keys and wires all parts. It starts nothing.
func New(cfg Config) (*Server, error) {
	n, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, network: n, ready: make(chan struct{}), moved: make(chan struct{}, 1)}
	advertised := netip.MustParseAddr(cfg.AdvertiseAddress) // validated
	s.address.Store(&advertised)
	for _, wire := range []func() error{s.loadKeys, s.wireStore, s.wireAPI, s.wireLoops} {
		if err := wire(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// keepEvents for as long as the flag says.
func (s *Server) keepEvents(kinds []*api.Kind) {
	for _, k := range kinds {
		if k.Kind == "Event" && s.cfg.EventTTL > 0 {
			k.TTL = func(api.Object) time.Duration { return s.cfg.EventTTL }
		}
	}
}

func (s *Server) wireStore() (err error) {
	kinds, err := applyRuntimeConfig(api.BuiltIn(), s.cfg.RuntimeConfig)
	if err != nil {
		return err
	}
	s.keepEvents(kinds)
	if s.catalogue, err = api.NewCatalogue(kinds); err != nil {
		return err
	}
	if err = s.wireEncryption(); err != nil {
		return err
	}
	s.store, err = store.New(store.Config{Dir: s.cfg.Paths.Etcd(), Mark: s.cfg.Paths.EtcdMark(), Recover: s.cfg.Recover, Name: s.cfg.NodeName, Catalogue: s.catalogue, Transformer: s.encryption.Live(), Log: s.cfg.Log.With("component", "store")})
	return err
}

// system is the server itself, when it writes what a cluster begins with.
var system = &user.DefaultInfo{Name: "system:apiserver", Groups: []string{wellknown.GroupMasters, wellknown.GroupAuthenticated}}

func versionInfo() version.Info {
	return version.Info{Major: "1", Minor: "37", GitVersion: buildversion.GitVersion(), GitCommit: buildversion.Commit, GitTreeState: "clean",
		BuildDate: buildversion.Date, GoVersion: goVersion(), Compiler: "gc", Platform: buildversion.Platform()}
}

// openID is the issuer's discovery document, by which others verify service-account tokens.
func (s *Server) openID() []byte {
	doc, err := json.Marshal(map[string]any{
		"issuer":                                s.tokens.Issuer(),
		"jwks_uri":                              s.jwksURI(),
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": s.tokens.Algorithms(),
	})
	if err != nil {
		panic(err) // a map of strings encodes
	}
	return doc
}

func (s *Server) jwksURI() string {
	if s.cfg.ServiceAccountJWKSURI != "" {
		return s.cfg.ServiceAccountJWKSURI
	}
	return "https://" + net.JoinHostPort(s.advertised().String(), strconv.Itoa(s.cfg.Port)) + "/openid/v1/jwks"
}

func (s *Server) jwks() []byte {
	doc, err := json.Marshal(map[string]any{"keys": s.tokens.JWKS()})
	if err != nil {
		panic(err) // a list of strings encodes
	}
	return doc
}

// Ready is closed when the API is served, the first objects are there and the loops run.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends and everything it started has ended. It does not return because the store is slow or alone.
func (s *Server) Run(ctx context.Context) error {
	// Keys first: the store opens what it holds at its start.
	if err := s.encryption.Prepare(ctx); err != nil {
		s.cfg.Log.Warn("a kms plugin does not answer yet; what it has sealed is hidden until it does", "error", err)
	}
	// The store outlives the rest, so that what ends can still write.
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStore()
	storeDone := make(chan error, 1)
	go func() { storeDone <- s.store.Run(storeCtx) }()
	select {
	case <-s.store.Ready():
	case err := <-storeDone:
		return err
	case <-ctx.Done():
		stopStore()
		return <-storeDone
	}

	// So does the audit log, for the last requests.
	auditCtx, stopAudit := context.WithCancel(storeCtx)
	auditDone := make(chan error, 1)
	go func() { auditDone <- s.audit.Run(auditCtx) }()

	g, ctx := errgroup.WithContext(ctx)
	var failed sync.Once
	g.Go(func() error { return s.definitions.Run(ctx) })
	select {
	case <-s.definitions.Synced(): // from the first request on, custom objects are served
	case <-ctx.Done():
	}
	g.Go(func() error { return s.apiserver.Run(ctx) })
	g.Go(func() error { return s.recorder.Run(ctx) })
	g.Go(func() error { return s.joining.tunnels.Run(ctx) })
	g.Go(func() error { return s.authentication.oidc.Run(ctx) })
	g.Go(func() error { return s.authorization.Run(ctx) })
	g.Go(func() error { return s.encryption.Run(ctx, s.store, s.cfg.Log.With("component", "encryption")) })
	g.Go(func() error { return s.labelUsedTokens(ctx) })
	g.Go(func() error { return s.writeKubeconfigs(ctx) })
	go registry.Warm() // 150 ms of parsing that the first write would wait for
	g.Go(func() error {
		if err := retry(ctx, s.bootstrap, func(err error) {
			failed.Do(func() { s.cfg.Log.Warn("the cluster's first objects are not there yet", "error", err) })
		}); err != nil {
			return nil // ctx ended
		}
		g.Go(func() error { return s.engine.Run(ctx) })
		g.Go(func() error { return s.followAddress(ctx) })
		s.runExtensions(ctx, g.Go)
		if !s.cfg.DisableScheduler {
			g.Go(func() error { return s.scheduler.Run(ctx) })
		}
		g.Go(func() error {
			return ignoreEnd(retry(ctx, s.resumeEncryption, func(err error) { s.cfg.Log.Warn("encryption at rest is not finished", "error", err) }))
		})
		g.Go(func() error {
			return ignoreEnd(retry(ctx, s.labelOwnNode, func(err error) { s.cfg.Log.Warn("the server's own node is not labelled yet", "error", err) }))
		})
		close(s.ready)
		return nil
	})
	g.Go(func() error {
		select {
		case err := <-storeDone:
			storeDone <- err
			return fmt.Errorf("store ended: %w", err)
		case <-ctx.Done():
			return nil
		}
	})
	err := g.Wait()
	stopAudit()
	<-auditDone
	stopStore()
	if storeErr := <-storeDone; err == nil {
		err = storeErr
	}
	return err
}

// ignoreEnd turns the end of a context into a good end.
func ignoreEnd(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// LocalClient is a client configuration for the agent in this process: the API server without a network between.
func (s *Server) LocalClient(name string, groups ...string) *rest.Config {
	u := &user.DefaultInfo{Name: name, Groups: append(groups, wellknown.GroupAuthenticated)}
	return &rest.Config{
		Host:      "http://skiff.local",
		Transport: s.apiserver.RoundTripper(u),
		QPS:       -1,
		ContentConfig: rest.ContentConfig{
			ContentType: "application/vnd.kubernetes.protobuf", AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json",
		},
		UserAgent: buildversion.UserAgent(componentOf(name)),
	}
}

// componentOf is the upstream component that does what a user does here.
func componentOf(name string) string {
	switch {
	case strings.HasPrefix(name, wellknown.UserNodePrefix):
		return "kubelet"
	case name == wellknown.UserProxy:
		return "kube-proxy"
	case strings.HasPrefix(name, "system:serviceaccount:kube-system:"):
		return "kube-controller-manager"
	}
	return "skiff"
}

// Cluster is what a node has to know of its cluster.
type Cluster struct {
	ClusterCIDRs, ServiceCIDRs []string
	ClusterDNS, ClusterDomain  string
}

// Cluster returns the settings that joining agents are told.
func (s *Server) Cluster() Cluster {
	return Cluster{ClusterCIDRs: s.cfg.ClusterCIDRs, ServiceCIDRs: s.cfg.ServiceCIDRs, ClusterDNS: s.network.dns.String(), ClusterDomain: s.cfg.ClusterDomain}
}

// Handler is the API, for tests.
func (s *Server) Handler() http.Handler { return s.apiserver.Handler() }
