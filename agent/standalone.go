package agent

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// standaloneCIDR is where pods get addresses on a node that belongs to no cluster.
var standaloneCIDR = netip.MustParsePrefix("10.42.0.0/24")

// noServices is what the service proxy of such a node knows of Services; it forwards host ports all the same.
type noServices struct{}

func (noServices) Synced() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (noServices) ServiceKeys() []types.NamespacedName { return nil }

func (noServices) Service(types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	return nil, nil
}

func (noServices) OnServices(func(types.NamespacedName)) (stop func()) { return func() {} }
