package api

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func node() *Kind {
	info := func(name, description string, f func(*corev1.NodeSystemInfo) string) Column {
		return wide(str(name, description, func(n *corev1.Node) string {
			if s := f(&n.Status.NodeInfo); s != "" {
				return s
			}
			return "<unknown>"
		}))
	}
	return &Kind{
		Kind: "Node", Plural: "nodes", Singular: "node", ShortNames: []string{"no"},
		Versions: []Version{typed[corev1.Node, corev1.NodeList]("", "v1")},
		Prefix:   "/registry/minions",
		Strategy: Strategy{
			Default: do(func(n *corev1.Node) {
				if n.Status.Allocatable == nil && n.Status.Capacity != nil {
					n.Status.Allocatable = n.Status.Capacity.DeepCopy()
				}
				roundUp(n.Status.Capacity)
				roundUp(n.Status.Allocatable)
			}),
			// The status of a new node is kept: a node registers with it.
			PrepareUpdate:            doPair(func(n, old *corev1.Node) { n.Status = old.Status }),
			Validate:                 one(validateNode),
			ValidateUpdate:           pair(validateNodeUpdate),
			Warnings:                 pair(nodeWarnings),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{
			status(func(to, from *corev1.Node) { to.Status = from.Status }, validateNodeStatus),
			connect("proxy", core("NodeProxyOptions"), func() runtime.Object { return &corev1.NodeProxyOptions{} }, proxyVerbs...),
		},
		Columns: []Column{
			str("Status", "whether the node is ready for pods", nodeState),
			str("Roles", "roles, from the node-role labels", func(n *corev1.Node) string { return orNone(strings.Join(nodeRoles(n), ",")) }),
			age(),
			str("Version", "version of the kubelet", func(n *corev1.Node) string { return n.Status.NodeInfo.KubeletVersion }),
			wide(str("Internal-IP", "address inside the cluster", nodeAddress(corev1.NodeInternalIP))),
			wide(str("External-IP", "address outside the cluster", nodeAddress(corev1.NodeExternalIP))),
			info("OS-Image", "operating system", func(i *corev1.NodeSystemInfo) string { return i.OSImage }),
			info("Kernel-Version", "kernel", func(i *corev1.NodeSystemInfo) string {
				if i.Architecture != "" && i.KernelVersion != "" {
					return i.KernelVersion + " (" + i.Architecture + ")"
				}
				return i.KernelVersion
			}),
			info("Container-Runtime", "what runs the containers", func(i *corev1.NodeSystemInfo) string { return i.ContainerRuntimeVersion }),
		},
		Fields: one(func(n *corev1.Node) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(n.Spec.Unschedulable)}
		}),
		FieldNames: []string{"spec.unschedulable"},
	}
}

func nodeState(n *corev1.Node) string {
	s := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			s = "NotReady"
			if c.Status == corev1.ConditionTrue {
				s = "Ready"
			}
		}
	}
	if n.Spec.Unschedulable {
		s += ",SchedulingDisabled"
	}
	return s
}

// nodeRoles come from labels node-role.kubernetes.io/ROLE, and from kubernetes.io/role=ROLE.
func nodeRoles(n *corev1.Node) []string {
	roles := map[string]bool{}
	for k, v := range n.Labels {
		if role, ok := strings.CutPrefix(k, "node-role.kubernetes.io/"); ok && role != "" {
			roles[role] = true
		} else if k == "kubernetes.io/role" && v != "" {
			roles[v] = true
		}
	}
	return slices.Sorted(maps.Keys(roles))
}

func nodeAddress(t corev1.NodeAddressType) func(*corev1.Node) string {
	return func(n *corev1.Node) string {
		for _, a := range n.Status.Addresses {
			if a.Type == t {
				return a.Address
			}
		}
		return "<none>"
	}
}

func validateNode(n *corev1.Node) fieldErrors {
	c, spec := &check{}, at("spec")
	c.taints(spec.Child("taints"), n.Spec.Taints)
	families := map[bool]bool{}
	for i, cidr := range n.Spec.PodCIDRs {
		c.cidr(spec.Child("podCIDRs").Index(i), cidr)
		if p, err := netip.ParsePrefix(cidr); err == nil {
			if families[p.Addr().Is4()] {
				c.invalid(spec.Child("podCIDRs"), n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family")
			}
			families[p.Addr().Is4()] = true
		}
	}
	if len(n.Spec.PodCIDRs) > 0 && n.Spec.PodCIDR != "" && n.Spec.PodCIDRs[0] != n.Spec.PodCIDR {
		c.invalid(spec.Child("podCIDRs").Index(0), n.Spec.PodCIDRs[0], "must be equal to `podCIDR`")
	}
	c.nodeStatus(n)
	return c.errs
}

func (c *check) nodeStatus(n *corev1.Node) {
	amounts := func(at *field.Path, l corev1.ResourceList) {
		for _, r := range sortedKeys(l) {
			c.invalid(at.Key(string(r)), r, validation.IsQualifiedName(string(r))...)
			c.resourceValue(at.Key(string(r)), r, l[r])
		}
	}
	amounts(at("status", "capacity"), n.Status.Capacity)
	amounts(at("status", "allocatable"), n.Status.Allocatable)
	seen := map[corev1.NodeAddress]bool{}
	for i, a := range n.Status.Addresses {
		if seen[a] {
			c.add(field.Duplicate(at("status", "addresses").Index(i), a))
		}
		seen[a] = true
	}
}

func validateNodeUpdate(n, old *corev1.Node) fieldErrors {
	c, spec := &check{errs: validateNode(n)}, at("spec")
	if old.Spec.PodCIDR != "" && old.Spec.PodCIDR != n.Spec.PodCIDR || len(old.Spec.PodCIDRs) > 0 && !slices.Equal(old.Spec.PodCIDRs, n.Spec.PodCIDRs) {
		c.forbidden(spec.Child("podCIDRs"), `node updates may not change podCIDR except from "" to valid`)
	}
	if old.Spec.ProviderID != "" && old.Spec.ProviderID != n.Spec.ProviderID {
		c.forbidden(spec.Child("providerID"), `node updates may not change providerID except from "" to valid`)
	}
	return c.errs
}

func validateNodeStatus(n, _ *corev1.Node) fieldErrors {
	c := &check{}
	c.nodeStatus(n)
	return c.errs
}
