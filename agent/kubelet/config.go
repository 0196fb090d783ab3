package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"codeberg.org/skiff/skiff/agent/kubelet/credential"
	"codeberg.org/skiff/skiff/agent/kubelet/eviction"
	"codeberg.org/skiff/skiff/agent/kubelet/httpapi"
	"codeberg.org/skiff/skiff/internal/features"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/image"
	"codeberg.org/skiff/skiff/runtime/stats"
)

// Runtime runs sandboxes and containers; runtime/container.Manager does.
type Runtime interface {
	Events() <-chan container.Event
	List() []container.Sandbox
	Sandbox(id string) (container.Sandbox, bool)
	CreateSandbox(ctx context.Context, spec container.SandboxSpec) (container.Sandbox, error)
	StopSandbox(ctx context.Context, id string) error
	RemoveSandbox(ctx context.Context, id string) error
	Start(ctx context.Context, sandboxID string, spec container.ContainerSpec) (container.Container, error)
	Signal(ctx context.Context, containerID string, sig syscall.Signal) error
	Stop(ctx context.Context, containerID string, grace time.Duration) error
	Remove(ctx context.Context, containerID string) error
	Exec(ctx context.Context, containerID string, spec container.ExecSpec) (int, error)
	Attach(ctx context.Context, containerID string, spec container.AttachSpec) error
	UpdateContainer(ctx context.Context, containerID string, r container.Resources, labels map[string]string) error
	UpdateSandbox(ctx context.Context, sandboxID string, r container.Resources) error
	// SetGroup makes and limits a cgroup above sandboxes, WeighGroup changes its weight, LimitCgroup limits one of others.
	SetGroup(name string, r container.Resources) error
	WeighGroup(name string, cpuShares uint64) error
	LimitCgroup(path string, r container.Resources) error
	GroupStats(name string) (container.Stats, error)
	ContainerStats(containerID string) (container.Stats, error)
	SandboxStats(sandboxID string) (container.Stats, error)
	// Details for monitoring, and the cgroup that they are of.
	ContainerDetail(containerID string) (stats.Detail, string, error)
	SandboxDetail(sandboxID string) (stats.Detail, string, error)
	GroupDetail(name string) (stats.Detail, string, error)
}

// Images is the image store; runtime/image.Store is.
type Images interface {
	Pull(ctx context.Context, ref string, opts image.PullOptions) (*image.Image, error)
	Get(ref string) *image.Image
	List() []*image.Image
	Remove(ctx context.Context, ref string, inUse func(id string) bool) error
	Usage() (int64, error)
}

// Network connects sandboxes to the pod network; agent/podnet.Network does.
type Network interface {
	// Attach gives the network namespace its addresses. Idempotent: the same id has the same addresses.
	Attach(ctx context.Context, id, netns string) ([]netip.Addr, error)
	// Attached are the addresses that a network namespace has been given, with all that belongs to them; none when it was not, or not
	// wholly. It needs nothing that the node has to be told first.
	Attached(id, netns string) []netip.Addr
	// Detach gives them back. Idempotent.
	Detach(ctx context.Context, id string) error
}

// HostPorts forwards ports of the node to pods.
type HostPorts interface {
	Set(id string, ips []netip.Addr, ports []corev1.ContainerPort)
	Remove(id string)
}

// Config of a Kubelet.
type Config struct {
	NodeName string
	// NodeIPs are the node's addresses of now.
	NodeIPs func() []netip.Addr
	Paths   wellknown.Paths
	// Client of the API; nil: only static pods run.
	Client  kubernetes.Interface
	Runtime Runtime
	Images  Images
	Network Network
	// HostPorts may be nil.
	HostPorts HostPorts

	// Features that a flag decides, and those that the node declares.
	Features features.Gates

	ClusterDNS    []string
	ClusterDomain string
	// ResolvConf of the node; default /etc/resolv.conf.
	ResolvConf string

	Labels map[string]string
	// Taints are set when the node is registered.
	Taints []corev1.Taint
	// ExternalIPs are addresses by which the node is reached from outside; they are told and not used. ProviderID is the machine's name where
	// it was hired; it is set when the node is registered.
	ExternalIPs []netip.Addr
	ProviderID  string
	// KubeReserved and SystemReserved of cpu, memory, ephemeral-storage and pid are not given to pods.
	KubeReserved, SystemReserved corev1.ResourceList
	// Enforce are the words of --enforce-node-allocatable; the cgroups are those of what is reserved, where a word asks for their limits.
	Enforce                                  []string
	KubeReservedCgroup, SystemReservedCgroup string
	// MaxPods, and if not 0 PodsPerCore, is how many pods may run here.
	MaxPods, PodsPerCore int
	// PodPIDs limits the processes of a pod; 0: no limit.
	PodPIDs int64
	// SeccompDefault runs containers that do not say with RuntimeDefault.
	SeccompDefault bool
	// AllowedSysctls beside the safe ones, e.g. "net.core.*".
	AllowedSysctls []string
	Version        string // of skiff

	// Listen is the address of the HTTPS endpoint; "" for none. TLS must have GetCertificate or Certificates.
	Listen string
	TLS    *tls.Config
	// ClientCA verifies callers' certificates; Authorize decides about them and about bearer tokens.
	ClientCA *x509.CertPool
	// Authorizer of requests to the endpoint; nil: only the API server's and masters' certificates.
	Authorizer httpapi.Authorizer
	// ReadLogs reads a container's log file; runtime/logs does.
	ReadLogs func(ctx context.Context, w io.Writer, path string, opts httpapi.LogOptions) error

	// NetworkReady says why pods cannot be connected yet; nil: they can. Call Kubelet.NodeChanged when it changes.
	NetworkReady func() error
	// OnNode is told each new state of the node's own object (for its pod CIDRs).
	OnNode func(*corev1.Node)
	// Services of the cluster, when another part of the process has them already; nil: watched here.
	Services func() []*corev1.Service

	// Thresholds below which pods are evicted; nil for eviction.DefaultHard. A pod that a soft one evicts has SoftGrace at most.
	// A condition of the node stays for PressureTransition after it was last true (default 5 min).
	Thresholds         []eviction.Threshold
	SoftGrace          time.Duration
	PressureTransition time.Duration
	// LayerUsage is how many bytes and inodes the writable layer of a container takes on disk; nil: not counted.
	LayerUsage func(containerID string) (bytes, inodes int64, err error)
	// ImageGCHigh is the used share of the disk above which unused images are removed, until ImageGCLow is used (defaults 0.85 and 0.80; a high
	// mark of 1 is never reached). An image is kept for ImageMinAge after its last use (default 2 min; negative: not at all), and removed
	// after ImageMaxAge (0: never).
	ImageGCHigh, ImageGCLow  float64
	ImageMinAge, ImageMaxAge time.Duration
	// ShutdownGrace is how long pods have to end when the machine goes down, of which the last ShutdownGraceCritical is for critical ones; 0: they are
	// not ended in order. Logind connects to what tells of that.
	ShutdownGrace, ShutdownGraceCritical time.Duration
	Logind                               func() (Logind, error)
	// Credentials of registries, beside the pods' own; may be nil.
	Credentials *credential.Providers
	// LogMaxSize and LogMaxFiles are what the runtime was told; they are shown.
	LogMaxSize  int64
	LogMaxFiles int

	Log *slog.Logger
	Now func() time.Time
}

func (c *Config) validate() error {
	switch {
	case c.NodeName == "":
		return errors.New("kubelet: no node name")
	case c.Runtime == nil || c.Images == nil || c.Network == nil:
		return errors.New("kubelet: runtime, images and network are needed")
	case c.Paths.Data == "" || c.Paths.Run == "" || c.Paths.Log == "":
		return errors.New("kubelet: paths are needed")
	case c.Listen != "" && c.TLS == nil:
		return errors.New("kubelet: the HTTPS endpoint needs a certificate")
	}
	def(&c.MaxPods, 110)
	def(&c.ClusterDomain, wellknown.DefaultClusterDomain)
	def(&c.ResolvConf, "/etc/resolv.conf")
	if c.Thresholds == nil {
		c.Thresholds, _ = eviction.Thresholds(eviction.DefaultHard(), nil, nil, nil)
	}
	if c.Enforce == nil {
		c.Enforce = []string{EnforcePods}
	}
	def(&c.PressureTransition, 5*time.Minute)
	def(&c.ImageGCHigh, 0.85)
	def(&c.ImageGCLow, 0.80)
	def(&c.ImageMinAge, 2*time.Minute)
	def(&c.LogMaxSize, 10<<20)
	def(&c.LogMaxFiles, 5)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
