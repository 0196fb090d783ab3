package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	authenticationv1client "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationv1client "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"

	"codeberg.org/skiff/skiff/agent/cluster"
	"codeberg.org/skiff/skiff/agent/dns"
	"codeberg.org/skiff/skiff/agent/kubelet"
	"codeberg.org/skiff/skiff/agent/kubelet/httpapi"
	"codeberg.org/skiff/skiff/agent/podnet"
	"codeberg.org/skiff/skiff/internal/iptables"
	"codeberg.org/skiff/skiff/internal/version"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/netproxy"
	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/image"
	"codeberg.org/skiff/skiff/runtime/image/imageapi"
	"codeberg.org/skiff/skiff/runtime/logs"
	"codeberg.org/skiff/skiff/runtime/shim"
	"codeberg.org/skiff/skiff/runtime/snapshot"
)

// Agent is one node. See doc.go.
type Agent struct {
	cfg      Config
	settings settings
	member   *Membership

	images     *image.Store
	snapshots  *snapshot.Store
	containers *container.Manager
	cluster    *cluster.Cache // nil when standing alone
	rules      *iptables.Owner
	network    *podnet.Network
	proxy      *netproxy.Proxy // nil when standing alone
	dns        *dns.Server     // nil when standing alone
	kubelet    *kubelet.Kubelet
	client     kubernetes.Interface
}

// New opens the stores on disk, which finds the pods that still run, and wires all parts. It starts nothing. A nil member makes
// an agent that stands alone.
func New(cfg Config, member *Membership) (*Agent, error) {
	s, err := cfg.validate()
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, settings: s, member: member}
	for _, wire := range []func() error{a.openRuntime, a.wireNetwork, a.wireKubelet} {
		if err := wire(); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *Agent) openRuntime() (err error) {
	p := a.cfg.Paths
	if a.images, err = image.Open(image.Config{Dir: p.Images(), Registries: p.RegistriesFile(), Log: a.cfg.Log.With("component", "images")}); err != nil {
		return err
	}
	if a.snapshots, err = snapshot.Open(p.Snapshots(), a.images); err != nil {
		return err
	}
	exe, err := shim.Install(p.Shim())
	if err != nil {
		a.cfg.Log.Warn("containers start more slowly than they could", "component", "containers", "err", err)
	}
	a.containers, err = container.Open(container.Config{StateDir: p.Containers(), RunDir: p.Run, CgroupRoot: a.cfg.CgroupRoot, Snapshots: a.snapshots,
		Executable: exe, LogMaxSize: a.settings.node.logMaxSize, LogMaxFiles: a.cfg.Node.LogMaxFiles, Logger: a.cfg.Log.With("component", "containers")})
	return err
}

func (a *Agent) wireNetwork() (err error) {
	log := a.cfg.Log
	a.rules = iptables.NewOwner(log.With("component", "iptables"))
	net := podnet.Config{NodeName: a.cfg.NodeName, NodeIPs: a.settings.ips, ClusterCIDRs: []netip.Prefix{standaloneCIDR},
		StateDir: filepath.Join(a.cfg.Paths.Data, "agent", "network"), Rules: a.rules, Log: log.With("component", "podnet")}
	if a.member == nil {
		if a.network, err = podnet.New(net); err != nil {
			return err
		}
		a.proxy, err = netproxy.New(netproxy.Config{NodeName: a.cfg.NodeName, Source: noServices{}, ClusterCIDRs: net.ClusterCIDRs, Rules: a.rules, Log: log.With("component", "netproxy")})
		return err
	}
	proxyClient, err := kubernetes.NewForConfig(a.member.Proxy)
	if err != nil {
		return fmt.Errorf("client of the service proxy: %w", err)
	}
	if a.client, err = kubernetes.NewForConfig(a.member.Kubelet); err != nil {
		return fmt.Errorf("client of the kubelet: %w", err)
	}
	a.cluster = cluster.New(proxyClient, log.With("component", "cluster"))
	net.ClusterCIDRs, net.ServiceCIDRs = a.member.ClusterCIDRs, a.member.ServiceCIDRs
	net.Nodes, net.PublishVTEP = a.cluster, a.publishVTEP
	net.OnReady = func() { a.kubelet.NodeChanged() }
	if a.network, err = podnet.New(net); err != nil {
		return err
	}
	a.proxy, err = netproxy.New(netproxy.Config{NodeName: a.cfg.NodeName, Source: a.cluster, ClusterCIDRs: a.member.ClusterCIDRs,
		ServiceCIDRs: a.member.ServiceCIDRs, LocalAddrs: a.member.ClusterDNS, Rules: a.rules, Log: log.With("component", "netproxy")})
	if err != nil {
		return err
	}
	a.dns, err = dns.New(dns.Config{Source: a.cluster, Domain: a.member.ClusterDomain, Addrs: a.member.ClusterDNS,
		Ranges: slices.Concat(a.member.ClusterCIDRs, a.member.ServiceCIDRs), ResolvConf: a.cfg.ResolvConf, Upstreams: a.settings.upstream, Stubs: a.settings.stubs, Log: log.With("component", "dns")})
	return err
}

// publishVTEP tells the other nodes how to reach this node's pods.
func (a *Agent) publishVTEP(ctx context.Context, value string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, wellknown.AnnotationVTEP, value)
	_, err := a.client.CoreV1().Nodes().Patch(ctx, a.cfg.NodeName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

func (a *Agent) wireKubelet() (err error) {
	cfg := kubelet.Config{
		NodeName: a.cfg.NodeName, NodeIPs: a.cfg.Addresses.List, Paths: a.cfg.Paths, Client: a.client,
		Runtime: a.containers, Images: a.images, Network: a.network,
		ResolvConf: a.cfg.ResolvConf, Labels: a.settings.labels, Taints: a.settings.taints,
		MaxPods: a.cfg.MaxPods, PodPIDs: max(0, a.cfg.PodPIDs), SeccompDefault: a.cfg.SeccompDefault, AllowedSysctls: a.cfg.AllowedUnsafeSysctls,
		Features: a.cfg.Features, Version: version.Version, NetworkReady: a.network.Ready, ReadLogs: readLogs,
		Log: a.cfg.Log.With("component", "kubelet"), Now: a.cfg.Now,
	}
	a.cfg.Node.configure(&cfg, a.settings.node)
	cfg.LayerUsage = a.snapshots.Usage
	cfg.HostPorts = hostPorts{a.proxy}
	if m := a.member; m != nil {
		for _, addr := range m.ClusterDNS {
			cfg.ClusterDNS = append(cfg.ClusterDNS, addr.String())
		}
		cfg.ClusterDomain = m.ClusterDomain
		cfg.Services = a.services
		cfg.OnNode = func(n *corev1.Node) { a.proxy.SetZone(n.Labels[corev1.LabelTopologyZone]) }
		cfg.Listen = net.JoinHostPort("", strconv.Itoa(a.cfg.KubeletPort))
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: m.Serving}
		cfg.ClientCA = m.ClientCAs
		if cfg.Authorizer, err = authorizer(a.cfg.NodeName, m); err != nil {
			return err
		}
	}
	a.kubelet, err = kubelet.New(cfg)
	return err
}

// authorizer asks the API server about callers of the kubelet. Its clients have limits of their own: whoever guesses tokens holds up only others
// who show tokens, not the node.
func authorizer(nodeName string, m *Membership) (httpapi.Authorizer, error) {
	c := rest.CopyConfig(m.Kubelet)
	c.QPS, c.Burst, c.RateLimiter = 20, 50, nil
	tokens, err := authenticationv1client.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("client of token reviews: %w", err)
	}
	access, err := authorizationv1client.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("client of access reviews: %w", err)
	}
	return httpapi.NewWebhook(nodeName, tokens, access), nil
}

func (a *Agent) services() []*corev1.Service {
	var all []*corev1.Service
	for _, key := range a.cluster.ServiceKeys() {
		if s, _ := a.cluster.Service(key); s != nil {
			all = append(all, s)
		}
	}
	return all
}

// Run runs the node until ctx ends. Pods, their network and the rules stay as they are: they outlive skiff.
func (a *Agent) Run(ctx context.Context) error {
	if err := secureFolders(a.cfg.Paths); err != nil {
		return err
	}
	var inUse []string
	for _, s := range a.containers.List() {
		inUse = append(inUse, s.Spec.ID)
	}
	if err := a.network.Reconcile(ctx, inUse); err != nil {
		return fmt.Errorf("reconcile the pod network: %w", err)
	}
	if a.member == nil {
		if err := a.network.Setup(ctx, []netip.Prefix{standaloneCIDR}); err != nil {
			return fmt.Errorf("set up the pod network: %w", err)
		}
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
	run("containers", a.containers.Run)
	run("image socket", func(ctx context.Context) error {
		return imageapi.Serve(ctx, ImageSocket(a.cfg.Paths), imageapi.Handler(a.images, a.imageInUse))
	})
	defer a.cfg.Addresses.OnEvent(a.addressEvent)()
	run("addresses", a.cfg.Addresses.Run)
	run("iptables rules", a.rules.Run)
	run("service proxy", a.proxy.Run)
	if a.member != nil {
		run("cluster cache", a.cluster.Run)
		run("pod network", a.network.Run)
		run("cluster DNS", a.dns.Run)
	}
	run("kubelet", a.kubelet.Run)
	return g.Wait()
}

// addressEvent passes on what happened to the machine's addresses.
func (a *Agent) addressEvent(changed bool) {
	a.network.SetNodeIPs(a.cfg.Addresses.List())
	if !changed {
		return
	}
	a.kubelet.NodeChanged()
	if a.member != nil && a.member.Renew != nil {
		a.member.Renew()
	}
}

// ImageSocket is where `skiff image` finds the daemon.
func ImageSocket(p wellknown.Paths) string { return filepath.Join(p.Run, "image.sock") }

func (a *Agent) imageInUse(id string) bool {
	for _, s := range a.containers.List() {
		for _, c := range s.Containers {
			if c.Spec.ImageID == id {
				return true
			}
		}
	}
	return false
}

// hostPorts tells the service proxy about pods' host ports in its own words.
type hostPorts struct{ proxy *netproxy.Proxy }

func (h hostPorts) Set(id string, ips []netip.Addr, ports []corev1.ContainerPort) {
	var list []netproxy.HostPort
	for _, p := range ports {
		if p.HostPort == 0 {
			continue
		}
		host, _ := netip.ParseAddr(p.HostIP)
		for _, ip := range ips {
			list = append(list, netproxy.HostPort{HostIP: host, HostPort: uint16(p.HostPort), Protocol: string(p.Protocol),
				Target: netip.AddrPortFrom(ip, uint16(p.ContainerPort))})
		}
	}
	h.proxy.SetHostPorts(id, list)
}

func (h hostPorts) Remove(id string) { h.proxy.SetHostPorts(id, nil) }

// readLogs reads a container's log in the kubelet's words.
func readLogs(ctx context.Context, w io.Writer, path string, o httpapi.LogOptions) error {
	opts := logs.Options{Follow: o.Follow, Done: o.Ended, Tail: -1, Since: o.Since, Timestamps: o.Timestamps}
	if o.Tail != nil {
		opts.Tail = *o.Tail
	}
	if o.LimitBytes != nil {
		opts.LimitBytes = *o.LimitBytes
	}
	stdout, stderr := w, w
	switch o.Stream {
	case "stdout":
		stderr = nil
	case "stderr":
		stdout = nil
	}
	return logs.Read(ctx, path, opts, stdout, stderr)
}
