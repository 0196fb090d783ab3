package server

import (
	"context"
	"net/netip"
)

// advertised is the address that agents and pods are told.
func (s *Server) advertised() netip.Addr { return *s.address.Load() }

// SetAdvertiseAddress says that this machine is reached by another address from now on: the serving certificate gets it, agents and
// pods are told of it through the Service default/kubernetes. It returns at once.
func (s *Server) SetAdvertiseAddress(addr netip.Addr) {
	if old := s.address.Swap(&addr); *old == addr {
		return
	}
	s.serving.Renew()
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

// followAddress publishes the address again each time it has changed.
func (s *Server) followAddress(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.moved:
		}
		err := retry(ctx, s.publishAddress, func(err error) {
			s.cfg.Log.Warn("cannot publish the server's new address yet", "address", s.advertised(), "error", err)
		})
		if err != nil {
			return nil // ctx ended
		}
	}
}
