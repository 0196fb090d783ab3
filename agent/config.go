package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"codeberg.org/skiff/skiff/agent/dns"
	"codeberg.org/skiff/skiff/internal/features"
	"codeberg.org/skiff/skiff/internal/nodeaddr"
	"codeberg.org/skiff/skiff/internal/wellknown"
)

// Config of an Agent. Flags parse straight into it; New checks it once and never changes it afterwards.
type Config struct {
	Paths    wellknown.Paths
	NodeName string
	NodeIPs  []string
	// Addresses are those of now; nil: NodeIPs, for ever.
	Addresses   *nodeaddr.Addresses
	NodeLabels  []string
	NodeTaints  []string
	CgroupRoot  string
	MaxPods     int
	PodPIDs     int64
	KubeletPort int
	ResolvConf  string
	// Node are upstream's flags of what pods may have of the machine.
	Node NodeFlags
	// DNSUpstreams and DNSStubs say whom the cluster DNS asks.
	DNSUpstreams, DNSStubs []string
	// SeccompDefault runs containers that do not say otherwise with the runtime's seccomp profile.
	SeccompDefault bool
	// AllowedUnsafeSysctls beside the safe ones.
	AllowedUnsafeSysctls []string
	// FeatureGates as they were given; Complete checks them and makes Features of them.
	FeatureGates map[string]string
	Features     features.Gates

	Now func() time.Time
	Log *slog.Logger
}

// Membership is what joining a cluster gives.
type Membership struct {
	// Kubelet and Proxy are client configurations with the identities of the node and of the service proxy.
	Kubelet, Proxy *rest.Config
	// Serving is the kubelet's certificate; ClientCAs verify who calls it.
	Serving   func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	ClientCAs *x509.CertPool
	// Renew, when set, gets a certificate for the addresses that the node has now.
	Renew func()

	ClusterCIDRs, ServiceCIDRs []netip.Prefix
	ClusterDNS                 []netip.Addr
	ClusterDomain              string
}

// WithNetwork fills in the address ranges and the DNS address, as the server tells them.
func (m *Membership) WithNetwork(cluster, service []string, dns string) (*Membership, error) {
	for _, list := range []struct {
		from []string
		to   *[]netip.Prefix
	}{{cluster, &m.ClusterCIDRs}, {service, &m.ServiceCIDRs}} {
		for _, s := range list.from {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return nil, fmt.Errorf("address range of the cluster: %w", err)
			}
			*list.to = append(*list.to, p)
		}
	}
	addr, err := netip.ParseAddr(dns)
	if err != nil {
		return nil, fmt.Errorf("address of the cluster DNS: %w", err)
	}
	m.ClusterDNS = []netip.Addr{addr}
	return m, nil
}

// AddFlags makes every field a flag. The paths, node name and addresses are flags of servers too: see AddNodeFlags.
func (c *Config) AddFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&c.NodeLabels, "node-label", nil, "labels that the node registers with, key=value")
	f.StringSliceVar(&c.NodeTaints, "node-taint", nil, "taints that the node registers with, key=value:effect")
	f.StringVar(&c.CgroupRoot, "cgroup-root", "skiff", "cgroup below which all pods run")
	f.IntVar(&c.MaxPods, "max-pods", 110, "how many pods may run here")
	f.Int64Var(&c.PodPIDs, "pod-max-pids", -1, "how many processes a pod may have; -1: no limit of its own")
	f.IntVar(&c.KubeletPort, "kubelet-port", wellknown.KubeletPort, "port of the kubelet's HTTPS endpoint")
	f.StringVar(&c.ResolvConf, "resolv-conf", "/etc/resolv.conf", "resolver file that pods and the cluster DNS start from")
	c.Node.addFlags(f)
	f.StringSliceVar(&c.DNSUpstreams, "cluster-dns-upstream", nil, "servers that the cluster DNS asks for names outside the cluster, address[:port] (default: those of --resolv-conf)")
	f.StringArrayVar(&c.DNSStubs, "cluster-dns-stub-domain", nil, "domain whose names the cluster DNS asks of servers of their own, domain=address[:port][,address…]; once for each domain")
	f.BoolVar(&c.SeccompDefault, "seccomp-default", false, "use the RuntimeDefault seccomp profile for containers that do not say otherwise")
	f.StringSliceVar(&c.AllowedUnsafeSysctls, "allowed-unsafe-sysctls", nil, "sysctls that pods may set beside the safe ones")
}

// AddNodeFlags are the flags that a server needs as well.
func (c *Config) AddNodeFlags(f *pflag.FlagSet) {
	paths := wellknown.DefaultPaths()
	f.StringVar(&c.Paths.Data, "data-dir", paths.Data, "what survives a reboot")
	f.StringVar(&c.Paths.Run, "run-dir", paths.Run, "what does not: sockets, namespaces")
	f.StringVar(&c.Paths.Config, "config-dir", paths.Config, "configuration files, and the administrator's kubeconfig")
	f.StringVar(&c.Paths.Log, "log-dir", paths.Log, "logs of pods, in pods/ and containers/")
	f.StringToStringVar(&c.FeatureGates, "feature-gates", nil, "Kubernetes' feature gates, Name=true or Name=false; what cannot be so is an error that says why")
	f.StringVar(&c.NodeName, "node-name", "", "name of the node (default: the one it has had before, or the whole host name)")
	f.StringSliceVar(&c.NodeIPs, "node-ip", nil, "addresses of the node, one a family (default: that of the default route)")
}

// Complete fills in what the flags left to the machine: name and addresses.
func (c *Config) Complete() (err error) {
	if c.Features, err = features.New(c.FeatureGates); err != nil {
		return err
	}
	if c.NodeName == "" {
		if c.NodeName, err = defaultName(c.Paths, os.Hostname); err != nil {
			return fmt.Errorf("find out the node's name: %w", err)
		}
	}
	if errs := validation.IsDNS1123Subdomain(c.NodeName); len(errs) > 0 {
		return fmt.Errorf("--node-name %q: %s", c.NodeName, strings.Join(errs, "; "))
	}
	if len(c.NodeIPs) == 0 {
		var err error
		if c.Addresses, err = nodeaddr.Detect(); err != nil {
			return fmt.Errorf("find out the node's address (set --node-ip): %w", err)
		}
		c.NodeIPs = c.Addresses.Strings()
	}
	return nil
}

// settings is what the flags mean.
type settings struct {
	ips      []netip.Addr
	labels   map[string]string
	taints   []corev1.Taint
	node     nodeSettings
	upstream []netip.AddrPort
	stubs    []dns.Stub
}

func (c *Config) validate() (s settings, err error) {
	for _, ip := range c.NodeIPs {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			return s, fmt.Errorf("--node-ip: %w", err)
		}
		s.ips = append(s.ips, addr)
	}
	if c.Addresses == nil {
		c.Addresses = nodeaddr.Fixed(s.ips)
	}
	if s.upstream, err = dns.ParseServers(c.DNSUpstreams); err != nil {
		return s, fmt.Errorf("--cluster-dns-upstream: %w", err)
	}
	for _, text := range c.DNSStubs {
		stub, err := dns.ParseStub(text)
		if err != nil {
			return s, fmt.Errorf("--cluster-dns-stub-domain: %w", err)
		}
		s.stubs = append(s.stubs, stub)
	}
	s.labels = map[string]string{}
	for _, l := range c.NodeLabels {
		key, value, _ := strings.Cut(l, "=")
		if errs := slices.Concat(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)); len(errs) > 0 {
			return s, fmt.Errorf("--node-label %q: %s", l, strings.Join(errs, "; "))
		}
		s.labels[key] = value
	}
	for _, t := range c.NodeTaints {
		taint, err := parseTaint(t)
		if err != nil {
			return s, fmt.Errorf("--node-taint %q: %w", t, err)
		}
		s.taints = append(s.taints, taint)
	}
	if c.MaxPods < 1 {
		return s, fmt.Errorf("--max-pods %d: must be at least 1", c.MaxPods)
	}
	if c.PodPIDs < -1 {
		return s, fmt.Errorf("--pod-max-pids %d: must be -1 (no limit) or more", c.PodPIDs)
	}
	if c.KubeletPort < 1 || c.KubeletPort > 65535 {
		return s, fmt.Errorf("--kubelet-port %d: must be between 1 and 65535", c.KubeletPort)
	}
	if s.node, err = c.Node.validate(); err != nil {
		return s, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// parseTaint reads key=value:effect or key:effect.
func parseTaint(s string) (corev1.Taint, error) {
	pair, effect, ok := strings.Cut(s, ":")
	switch e := corev1.TaintEffect(effect); {
	case !ok:
		return corev1.Taint{}, errors.New("expected key=value:effect")
	case e != corev1.TaintEffectNoSchedule && e != corev1.TaintEffectPreferNoSchedule && e != corev1.TaintEffectNoExecute:
		return corev1.Taint{}, fmt.Errorf("effect %q is none of NoSchedule, PreferNoSchedule, NoExecute", effect)
	}
	key, value, _ := strings.Cut(pair, "=")
	if errs := slices.Concat(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)); len(errs) > 0 {
		return corev1.Taint{}, errors.New(strings.Join(errs, "; "))
	}
	return corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)}, nil
}
