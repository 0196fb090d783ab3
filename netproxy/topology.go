package netproxy

import (
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// place is where this node is; the zone is "" while it has none.
type place struct{ node, zone string }

// SetZone says in which zone the node is, by its label. Services whose traffic prefers a zone follow.
func (p *Proxy) SetZone(zone string) {
	p.mu.Lock()
	same := p.zone == zone
	p.zone = zone
	p.mu.Unlock()
	if same {
		return
	}
	for _, key := range p.cfg.Source.ServiceKeys() {
		p.changed(key)
	}
}

func (p *Proxy) place() place {
	p.mu.Lock()
	defer p.mu.Unlock()
	return place{p.cfg.NodeName, p.zone}
}

// hint is what the hints of one endpoint say of this node: whether there are any, and whether it is meant.
type hint struct{ byNode, thisNode, byZone, thisZone bool }

func hintOf(h *discoveryv1.EndpointHints, here place) (out hint) {
	if h == nil {
		return out
	}
	out.byNode, out.byZone = len(h.ForNodes) > 0, len(h.ForZones) > 0
	out.thisNode = slices.ContainsFunc(h.ForNodes, func(n discoveryv1.ForNode) bool { return n.Name == here.node })
	out.thisZone = here.zone != "" && slices.ContainsFunc(h.ForZones, func(z discoveryv1.ForZone) bool { return z.Name == here.zone })
	return out
}

// nearest are the ready endpoints that the hints keep for this node, or else for its zone (KEP-3015). Hints hold only if every ready
// endpoint has them and one is meant for here; otherwise all endpoints serve.
func nearest(ready []endpoint, hints []hint) []endpoint {
	for _, level := range []struct{ has, meant func(hint) bool }{
		{func(h hint) bool { return h.byNode }, func(h hint) bool { return h.thisNode }},
		{func(h hint) bool { return h.byZone }, func(h hint) bool { return h.thisZone }},
	} {
		if slices.ContainsFunc(hints, func(h hint) bool { return !level.has(h) }) || !slices.ContainsFunc(hints, level.meant) {
			continue
		}
		var out []endpoint
		for i, e := range ready {
			if level.meant(hints[i]) {
				out = append(out, e)
			}
		}
		return out
	}
	return slices.Clone(ready)
}
