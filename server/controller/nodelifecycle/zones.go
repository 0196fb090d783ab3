package nodelifecycle

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Eviction says how fast pods may be driven away from nodes that are not ready. The names are those of upstream's flags.
type Eviction struct {
	// Rate is how many nodes a second a zone may lose its pods from; SecondaryRate is the same for a large zone of which
	// the greater part is not ready.
	Rate, SecondaryRate float64
	// UnhealthyThreshold is the share of nodes, from 0 to 1, that makes it the greater part.
	UnhealthyThreshold float64
	// LargeCluster is how many nodes a zone has to exceed in order to be large. In a smaller one nobody is driven away then.
	LargeCluster int
}

// DefaultEviction is upstream's.
var DefaultEviction = Eviction{Rate: 0.1, SecondaryRate: 0.01, UnhealthyThreshold: 0.55, LargeCluster: 50}

// Validate names the flag that makes no sense.
func (e Eviction) Validate() error {
	switch {
	case e.Rate < 0:
		return fmt.Errorf("--node-eviction-rate: %v is negative", e.Rate)
	case e.SecondaryRate < 0:
		return fmt.Errorf("--secondary-node-eviction-rate: %v is negative", e.SecondaryRate)
	case e.UnhealthyThreshold < 0 || e.UnhealthyThreshold > 1:
		return fmt.Errorf("--unhealthy-zone-threshold: %v is not between 0 and 1", e.UnhealthyThreshold)
	case e.LargeCluster < 0:
		return fmt.Errorf("--large-cluster-size-threshold: %d is negative", e.LargeCluster)
	}
	return nil
}

// zone is where nodes fail together, by the well-known labels. Nodes without labels are one zone.
type zone struct{ region, zone string }

func zoneOf(node *corev1.Node) zone {
	return zone{node.Labels[corev1.LabelTopologyRegion], node.Labels[corev1.LabelTopologyZone]}
}

// zoneState is upstream's: what the share of ready nodes says about the cause of the trouble.
type zoneState string

const (
	normal            zoneState = "Normal"
	partialDisruption zoneState = "PartialDisruption"
	fullDisruption    zoneState = "FullDisruption"
)

// census counts the nodes of each zone.
type census map[zone]count

type count struct{ ready, notReady int }

// countNodes takes a silent node for one that is not ready, also before its conditions say so. Nodes that are excluded by
// label say nothing about their zone.
func countNodes(nodes []*corev1.Node, silent func(*corev1.Node) bool) census {
	all := census{}
	for _, node := range nodes {
		if excluded(node) {
			continue
		}
		c := all[zoneOf(node)]
		if ready(node) && !silent(node) {
			c.ready++
		} else {
			c.notReady++
		}
		all[zoneOf(node)] = c
	}
	return all
}

// excludeDisruption is the label of nodes that are expected to come and go.
const excludeDisruption = "node.kubernetes.io/exclude-disruption"

// excluded tells whether a node is left out of the count.
func excluded(node *corev1.Node) bool {
	_, is := node.Labels[excludeDisruption]
	return is
}

func (e Eviction) state(c count) zoneState {
	switch {
	case c.ready == 0 && c.notReady > 0:
		return fullDisruption
	case c.notReady > 2 && float64(c.notReady)/float64(c.notReady+c.ready) >= e.UnhealthyThreshold:
		return partialDisruption
	}
	return normal
}

// rate is how many nodes a second may be tainted NoExecute in a zone. A zone that is down as a whole is left at the normal
// rate while others stand: then it is the zone that is lost.
func (e Eviction) rate(c count) float64 {
	if e.state(c) != partialDisruption {
		return e.Rate
	}
	if c.ready+c.notReady > e.LargeCluster {
		return e.SecondaryRate
	}
	return 0
}

// allDown tells whether every zone is fully disrupted. Then the trouble is more likely this server's than the nodes'.
func (e Eviction) allDown(all census) bool {
	for _, c := range all {
		if e.state(c) != fullDisruption {
			return false
		}
	}
	return len(all) > 0
}

// limiter lets one node of a zone through at a time. It is a token bucket of one token.
type limiter map[zone]time.Time

// wait is how long the next node of a zone has to wait; ok is false when it waits for the zone to change.
func (l limiter) wait(z zone, rate float64, now time.Time) (wait time.Duration, ok bool) {
	if rate <= 0 {
		return 0, false
	}
	last, used := l[z]
	if !used {
		return 0, true
	}
	// Up to an hour: a rate so small that it overflows is as good as none, and the key is only looked at again.
	return max(0, time.Duration(min(1/rate, 3600)*float64(time.Second))-now.Sub(last)), true
}

// take uses the zone's token.
func (l limiter) take(z zone, now time.Time) { l[z] = now }
