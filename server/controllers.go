package server

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"codeberg.org/skiff/skiff/server/controller/legacytokencleaner"
	"codeberg.org/skiff/skiff/server/controller/nodelifecycle"
	"codeberg.org/skiff/skiff/server/controller/podgc"
)

// Controllers are what upstream's controller manager has flags for, by its names.
type Controllers struct {
	// NodeMonitorGracePeriod is how long a node may be silent before it counts as lost, NodeStartupGracePeriod the same for one that has
	// not said anything yet.
	NodeMonitorGracePeriod, NodeStartupGracePeriod time.Duration
	// Eviction bounds how many nodes lose their pods.
	Eviction nodelifecycle.Eviction
	// TerminatedPodThreshold is how many finished pods stay; 0 for all of them.
	TerminatedPodThreshold int
	// LegacyTokenPeriod is how long a token that the cluster once made may be unused.
	LegacyTokenPeriod time.Duration
}

func (c *Controllers) addFlags(f *pflag.FlagSet) {
	f.DurationVar(&c.NodeMonitorGracePeriod, "node-monitor-grace-period", nodelifecycle.DefaultGracePeriod, "how long a node may be silent before it is not Ready; nodes give a sign of life every 20 s")
	f.DurationVar(&c.NodeStartupGracePeriod, "node-startup-grace-period", nodelifecycle.DefaultStartupGracePeriod, "how long a new node may be silent before it is not Ready")
	e := nodelifecycle.DefaultEviction
	f.Float64Var(&c.Eviction.Rate, "node-eviction-rate", e.Rate, "how many nodes a second of a zone may lose their pods when they are not Ready")
	f.Float64Var(&c.Eviction.SecondaryRate, "secondary-node-eviction-rate", e.SecondaryRate, "the same for a large zone of which the greater part is not Ready; in a small one no node does then")
	f.Float64Var(&c.Eviction.UnhealthyThreshold, "unhealthy-zone-threshold", e.UnhealthyThreshold, "the share of nodes (0 to 1) that is the greater part of a zone; at least three")
	f.IntVar(&c.Eviction.LargeCluster, "large-cluster-size-threshold", e.LargeCluster, "how many nodes a zone has to exceed to be large")
	f.IntVar(&c.TerminatedPodThreshold, "terminated-pod-gc-threshold", podgc.DefaultTerminatedThreshold, "how many finished pods stay before the oldest are removed; 0 or less: all stay")
	f.DurationVar(&c.LegacyTokenPeriod, "legacy-service-account-token-clean-up-period", legacytokencleaner.DefaultPeriod, "for how long a token in a Secret that the cluster once made by itself may be unused before it is marked invalid, and after as long again deleted")
}

func (c *Controllers) validate() error {
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{{"node-monitor-grace-period", c.NodeMonitorGracePeriod}, {"node-startup-grace-period", c.NodeStartupGracePeriod},
		{"legacy-service-account-token-clean-up-period", c.LegacyTokenPeriod}} {
		if d.value < 0 {
			return fmt.Errorf("--%s: %v is negative", d.flag, d.value)
		}
	}
	return c.Eviction.Validate()
}

func (c *Controllers) nodeLifecycle() nodelifecycle.Config {
	return nodelifecycle.Config{GracePeriod: c.NodeMonitorGracePeriod, StartupGracePeriod: c.NodeStartupGracePeriod, Eviction: &c.Eviction}
}
