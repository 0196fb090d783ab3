package scheduler

// hostPorts: one port of a node is for one pod.
var hostPorts = rule{
	name: "NodePorts", wakes: nodeAdded | podGone,
	prepare: func(c *cycle) (bool, *rejection) { return len(c.pod.ports) > 0, nil },
	filter: func(c *cycle, n *nodeInfo) *rejection {
		for _, want := range c.pod.ports {
			for used := range n.ports {
				if want.conflicts(used) {
					return portTaken
				}
			}
		}
		return nil
	},
}

var portTaken = no(false, "node(s) didn't have free ports for the requested pod ports")
