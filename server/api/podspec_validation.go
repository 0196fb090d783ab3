package api

import (
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podSpec checks the spec of a pod (isPod), or of a template.
func (c *check) podSpec(at *field.Path, s *corev1.PodSpec, isPod bool) {
	p := &podContext{spec: s, isPod: isPod, names: once{}}
	p.volumes = c.volumes(at.Child("volumes"), s.Volumes)
	p.claims = c.podClaims(at.Child("resourceClaims"), s.ResourceClaims)
	c.containers(at, p)
	c.podLevelResources(at.Child("resources"), s)
	oneOf(c, at.Child("restartPolicy"), s.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	oneOf(c, at.Child("dnsPolicy"), s.DNSPolicy, corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)
	c.dnsConfig(at.Child("dnsConfig"), s.DNSConfig, s.DNSPolicy)
	c.podScheduling(at, s)
	c.podNames(at, s)
	c.podHost(at, s)
	c.podSecurityContext(at.Child("securityContext"), s.SecurityContext, s)
	if s.TerminationGracePeriodSeconds == nil {
		c.required(at.Child("terminationGracePeriodSeconds"), "")
	}
	if d := s.ActiveDeadlineSeconds; d != nil {
		c.between(at.Child("activeDeadlineSeconds"), *d, 1, math.MaxInt32)
	}
	for i, r := range s.ImagePullSecrets {
		// An empty name names nothing and is let through, as ever.
		c.nameIfSet(at.Child("imagePullSecrets").Index(i).Child("name"), r.Name, subdomain)
	}
	if s.OS != nil {
		oneOf(c, at.Child("os", "name"), s.OS.Name, corev1.Linux, corev1.Windows)
	}
}

func (c *check) podScheduling(at *field.Path, s *corev1.PodSpec) {
	c.labels(at.Child("nodeSelector"), s.NodeSelector)
	c.affinity(at.Child("affinity"), s.Affinity)
	c.tolerations(at.Child("tolerations"), s.Tolerations)
	c.topologySpread(at.Child("topologySpreadConstraints"), s.TopologySpreadConstraints)
	gates := once{}
	for i, g := range s.SchedulingGates {
		path := at.Child("schedulingGates").Index(i)
		c.invalid(path, g.Name, validation.IsQualifiedName(g.Name)...)
		gates.add(c, path, g.Name)
	}
	for i, g := range s.ReadinessGates {
		c.invalid(at.Child("readinessGates").Index(i).Child("conditionType"), g.ConditionType, validation.IsQualifiedName(string(g.ConditionType))...)
	}
	if p := s.PreemptionPolicy; p != nil {
		oneOf(c, at.Child("preemptionPolicy"), *p, corev1.PreemptLowerPriority, corev1.PreemptNever)
	}
	for _, n := range sortedKeys(s.Overhead) {
		path := at.Child("overhead").Key(string(n))
		c.containerResourceName(path, n)
		c.resourceValue(path, n, s.Overhead[n])
	}
}

func (c *check) podNames(at *field.Path, s *corev1.PodSpec) {
	c.nameIfSet(at.Child("serviceAccountName"), s.ServiceAccountName, serviceAccountName)
	c.nameIfSet(at.Child("nodeName"), s.NodeName, subdomain)
	c.nameIfSet(at.Child("hostname"), s.Hostname, validation.IsDNS1123Label)
	c.nameIfSet(at.Child("subdomain"), s.Subdomain, validation.IsDNS1123Label)
	c.nameIfSet(at.Child("priorityClassName"), s.PriorityClassName, subdomain)
	if s.RuntimeClassName != nil {
		c.invalid(at.Child("runtimeClassName"), *s.RuntimeClassName, subdomain(*s.RuntimeClassName)...)
	}
	if h := s.HostnameOverride; h != nil {
		path := at.Child("hostnameOverride")
		if deref(s.SetHostnameAsFQDN) {
			c.forbidden(path, "may not be specified when setHostnameAsFQDN is true")
		}
		if s.HostNetwork {
			c.forbidden(path, "may not be specified when hostNetwork is true")
		}
		if len(*h) > 64 {
			c.add(field.TooLong(path, "", 64))
		}
		c.invalid(path, *h, subdomain(*h)...)
	}
}

// podHost checks what a pod shares with its node.
func (c *check) podHost(at *field.Path, s *corev1.PodSpec) {
	if deref(s.ShareProcessNamespace) && s.HostPID {
		c.invalid(at.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled")
	}
	if s.HostUsers != nil && !*s.HostUsers {
		c.mayNotBeSet(at, "when `hostUsers` is false", map[string]bool{
			"hostNetwork": s.HostNetwork, "HostPID": s.HostPID, "HostIPC": s.HostIPC,
		})
	}
	for i, a := range s.HostAliases {
		path := at.Child("hostAliases").Index(i)
		c.ip(path.Child("ip"), a.IP)
		for j, name := range a.Hostnames {
			c.invalid(path.Child("hostnames").Index(j), name, subdomain(name)...)
		}
	}
}

// The resolver of the C library reads no more than this.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxSearchChars = 2048
)

func (c *check) dnsConfig(at *field.Path, d *corev1.PodDNSConfig, policy corev1.DNSPolicy) {
	none := policy == corev1.DNSNone
	if d == nil {
		if none {
			c.required(at, "must provide `dnsConfig` when `dnsPolicy` is None")
		}
		return
	}
	if none && len(d.Nameservers) == 0 {
		c.required(at.Child("nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None")
	}
	if len(d.Nameservers) > maxNameservers {
		c.invalid(at.Child("nameservers"), d.Nameservers, fmt.Sprintf("must not have more than %d nameservers", maxNameservers))
	}
	for i, ns := range d.Nameservers {
		c.ip(at.Child("nameservers").Index(i), ns)
	}
	if len(d.Searches) > maxSearches {
		c.invalid(at.Child("searches"), d.Searches, fmt.Sprintf("must not have more than %d search paths", maxSearches))
	}
	if len(strings.Join(d.Searches, " ")) > maxSearchChars {
		c.invalid(at.Child("searches"), d.Searches, fmt.Sprintf("must not have more than %d characters (including spaces) in the search list", maxSearchChars))
	}
	for i, s := range d.Searches {
		if s != "." {
			c.invalid(at.Child("searches").Index(i), s, validation.IsDNS1123SubdomainWithUnderscore(strings.TrimSuffix(s, "."))...)
		}
	}
	for i, o := range d.Options {
		if o.Name == "" {
			c.required(at.Child("options").Index(i), "must not be empty")
		}
	}
}

// podTemplate checks a template.
func (c *check) podTemplate(at *field.Path, t *corev1.PodTemplateSpec) {
	c.labels(at.Child("metadata", "labels"), t.Labels)
	c.annotations(at.Child("metadata", "annotations"), t.Annotations)
	c.podSpec(at.Child("spec"), &t.Spec, false)
	if len(t.Spec.EphemeralContainers) > 0 {
		c.forbidden(at.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template")
	}
}
