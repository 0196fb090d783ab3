package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"codeberg.org/skiff/skiff/agent/join"
	"codeberg.org/skiff/skiff/internal/wallclock"
)

// Join joins the cluster of a server, or takes up the membership that is on disk, and runs the node until ctx ends.
func Join(ctx context.Context, cfg Config, server, token string) error {
	if _, err := cfg.validate(); err != nil {
		return err
	}
	log := cfg.Log.With("component", "join")
	addresses := cfg.Addresses.Strings
	id, err := join.Open(ctx, join.Config{Server: server, Token: token, NodeName: cfg.NodeName, Addresses: addresses,
		Dir: cfg.Paths.AgentTLS(), Now: cfg.Now, Log: log,
		After: func(d time.Duration) <-chan time.Time { return wallclock.After(ctx, d) }})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := cfg.RememberName(); err != nil {
		return err
	}
	balancer := id.Balancer()
	c := id.Cluster()
	member, err := (&Membership{
		Kubelet: id.RESTConfig(balancer.Dial), Proxy: id.ProxyRESTConfig(balancer.Dial),
		Serving: id.Serving, Renew: id.Renew, ClientCAs: id.Roots(), ClusterDomain: c.ClusterDomain,
	}).WithNetwork(c.ClusterCIDRs, c.ServiceCIDRs, c.ClusterDNS)
	if err != nil {
		return err
	}
	a, err := New(cfg, member)
	if err != nil {
		return err
	}
	reach, err := join.NewReach(cfg.KubeletPort, c.ClusterCIDRs, c.ServiceCIDRs)
	if err != nil {
		return err
	}
	tunnel := join.NewTunnel(join.TunnelConfig{TLS: id.ClientTLS, Servers: balancer.Servers, Allow: reach, Log: log})
	follower, err := kubernetes.NewForConfig(member.Proxy)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	run := func(what string, f func(context.Context) error) {
		g.Go(func() error {
			if err := f(ctx); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("%s: %w", what, err)
			}
			return nil
		})
	}
	run("certificates", id.Run)
	run("tunnel", tunnel.Run)
	run("servers", func(ctx context.Context) error { return balancer.Follow(ctx, follower) })
	run("node", a.Run)
	return g.Wait()
}
