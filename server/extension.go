package server

import (
	"context"
	"crypto/x509"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"codeberg.org/skiff/skiff/server/aggregation"
	"codeberg.org/skiff/skiff/server/apiserver/fairness"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
)

// What runs one request at a time per processor would leave the disk idle; what runs hundreds makes all of them slow.
const (
	seatsPerProcessor    = 32
	leastSeats, topSeats = 64, 600
)

// newFairness makes the queues in front of the API.
func (s *Server) newFairness(metrics *prometheus.Registry) (*fairness.Fairness, error) {
	seats := s.cfg.MaxRequestsInflight
	if seats == 0 {
		seats = min(topSeats, max(leastSeats, seatsPerProcessor*runtime.GOMAXPROCS(0)))
	}
	seats += s.cfg.MaxMutatingRequestsInflight
	return fairness.New(fairness.Config{Seats: seats, Metrics: metrics, Now: s.cfg.Now, Log: s.cfg.Log.With("component", "fairness")})
}

// newAggregator makes the way to other API servers.
func (s *Server) newAggregator(authorizer client.Authorizer, metrics *prometheus.Registry) (*aggregation.Aggregator, error) {
	return aggregation.New(aggregation.Config{
		Client: client.New(s.registry, s.store, s.catalogue, authorizer, system), Outbound: s.outbound,
		ClientCA: s.userCAs, FrontProxyCA: s.frontCA.PEM, Now: s.cfg.Now, Metrics: metrics, Log: s.cfg.Log.With("component", "aggregation"),
	})
}

// foreign is how controllers reach what other API servers keep: the way of every client, but without a network to ourselves.
type foreign struct{ *Server }

func (f foreign) Resources() ([]controller.ForeignResource, []schema.GroupVersion) {
	return f.aggregator.Resources()
}

func (f foreign) Metadata(account string) (metadata.Interface, error) {
	u := client.ServiceAccount(account)
	return metadata.NewForConfig(f.LocalClient(u.GetName(), u.GetGroups()...))
}

// clientCAs are named to clients that choose among certificates: of users, and of front proxies.
func (s *Server) clientCAs() *x509.CertPool {
	pool := s.userPool()
	pool.AppendCertsFromPEM(s.frontCA.PEM())
	return pool
}

// runExtensions runs what follows objects that shape the API server itself.
func (s *Server) runExtensions(ctx context.Context, run func(func() error)) {
	run(func() error { return s.fairness.Run(ctx, s.client) })
	run(func() error { return s.aggregator.Run(ctx) })
}
