package server

import (
	"context"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"codeberg.org/skiff/skiff/server/apiserver/fairness"
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
	return fairness.New(fairness.Config{Seats: seats, Metrics: metrics, Now: s.cfg.Now, Log: s.cfg.Log.With("component", "fairness")})
}

// runExtensions runs what follows objects that shape the API server itself.
func (s *Server) runExtensions(ctx context.Context, run func(func() error)) {
	run(func() error { return s.fairness.Run(ctx, s.client) })
}
