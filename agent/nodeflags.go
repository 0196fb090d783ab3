package agent

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-base/cli/flag"

	"codeberg.org/skiff/skiff/agent/kubelet"
	"codeberg.org/skiff/skiff/agent/kubelet/credential"
	"codeberg.org/skiff/skiff/agent/kubelet/eviction"
	"codeberg.org/skiff/skiff/agent/kubelet/logind"
	"codeberg.org/skiff/skiff/agent/kubelet/podres"
	"codeberg.org/skiff/skiff/internal/fixedflag"
)

// NodeFlags are those of upstream's kubelet, by its names, that say what of the machine pods may have and what is kept clean how.
type NodeFlags struct {
	ProviderID  string
	ExternalIPs []string

	KubeReserved, SystemReserved             map[string]string
	Enforce                                  []string
	KubeReservedCgroup, SystemReservedCgroup string
	PodsPerCore                              int

	EvictionHard, EvictionSoft, EvictionSoftGrace, EvictionReclaim map[string]string
	EvictionTransition                                             time.Duration
	EvictionMaxPodGrace                                            int

	ImageGCHigh, ImageGCLow  int
	ImageMinAge, ImageMaxAge time.Duration
	LogMaxSize               string

	ShutdownGrace, ShutdownGraceCritical time.Duration
	CredentialConfig, CredentialBinDir   string
	LogMaxFiles                          int
}

func (n *NodeFlags) addFlags(f *pflag.FlagSet) {
	f.StringVar(&n.ProviderID, "provider-id", "", "name of this machine where it was hired, for cloud controllers")
	f.StringSliceVar(&n.ExternalIPs, "node-external-ip", nil, "addresses by which the node is reached from outside; they are told, and not used")

	f.StringToStringVar(&n.SystemReserved, "system-reserved", nil, "cpu, memory, ephemeral-storage and pid that are kept from pods for the system, e.g. cpu=100m,memory=200Mi")
	f.StringToStringVar(&n.KubeReserved, "kube-reserved", nil, "the same for Kubernetes itself")
	f.StringSliceVar(&n.Enforce, "enforce-node-allocatable", []string{kubelet.EnforcePods},
		"what the kernel holds to its share: none, or of pods, system-reserved, kube-reserved, system-reserved-compressible, kube-reserved-compressible")
	f.StringVar(&n.SystemReservedCgroup, "system-reserved-cgroup", "", "cgroup, from the root, that system-reserved limits")
	f.StringVar(&n.KubeReservedCgroup, "kube-reserved-cgroup", "", "cgroup, from the root, that kube-reserved limits")
	f.IntVar(&n.PodsPerCore, "pods-per-core", 0, "how many pods may run here for each CPU, at most --max-pods; 0: only that")

	f.Var(flag.NewLangleSeparatedMapStringString(&n.EvictionHard), "eviction-hard",
		"pods are evicted at once below these, e.g. memory.available<100Mi,nodefs.available<10%; replaces all defaults")
	f.Var(flag.NewLangleSeparatedMapStringString(&n.EvictionSoft), "eviction-soft", "pods are evicted below these when it lasts, and given time to end")
	f.StringToStringVar(&n.EvictionSoftGrace, "eviction-soft-grace-period", nil, "how long each --eviction-soft has to last, e.g. memory.available=90s")
	f.StringToStringVar(&n.EvictionReclaim, "eviction-minimum-reclaim", nil, "how much more than its threshold is freed, e.g. nodefs.available=500Mi")
	f.DurationVar(&n.EvictionTransition, "eviction-pressure-transition-period", 5*time.Minute, "how long a condition of pressure stays after the pressure")
	f.IntVar(&n.EvictionMaxPodGrace, "eviction-max-pod-grace-period", 0, "seconds that a pod may take to end when --eviction-soft evicts it")

	f.IntVar(&n.ImageGCHigh, "image-gc-high-threshold", 85, "percent of the disk above which unused images are removed; 100: never")
	f.IntVar(&n.ImageGCLow, "image-gc-low-threshold", 80, "percent of the disk down to which they are removed")
	f.DurationVar(&n.ImageMinAge, "minimum-image-ttl-duration", 2*time.Minute, "how long an unused image is kept at least")
	f.DurationVar(&n.ImageMaxAge, "image-maximum-gc-age", 0, "how long an unused image is kept at most; 0: as long as there is room")
	f.StringVar(&n.LogMaxSize, "container-log-max-size", "10Mi", "size at which the log of a container is rotated")
	f.DurationVar(&n.ShutdownGrace, "shutdown-grace-period", 0, "how long pods may take to end when the machine goes down (needs systemd-logind); 0: they are not ended in order")
	f.DurationVar(&n.ShutdownGraceCritical, "shutdown-grace-period-critical-pods", 0, "the part of it that is for critical pods, after the others")
	f.StringVar(&n.CredentialConfig, "image-credential-provider-config", "", "CredentialProviderConfig of programs that give credentials of registries")
	f.StringVar(&n.CredentialBinDir, "image-credential-provider-bin-dir", "", "folder of these programs")
	f.IntVar(&n.LogMaxFiles, "container-log-max-files", 5, "how many files of a container's log are kept, with the one that is written")
	fixedflag.Add(f, "kubelet", upstreamFlags)
}

// upstreamFlags of the kubelet that share out single CPUs and memory nodes, which is not done here.
var upstreamFlags = []fixedflag.Group{
	{Names: "reserved-cpus", Reason: "no CPUs are kept from pods by number; write --system-reserved=cpu=N, which takes as much off allocatable"},
	{Names: "cpu-manager-policy topology-manager-policy", Accept: []string{"none"}, Reason: "pods share all CPUs"},
	{Names: "memory-manager-policy", Accept: []string{"None"}, Reason: "pods share all memory"},
}

// nodeSettings is what the flags mean.
type nodeSettings struct {
	externalIPs               []netip.Addr
	kubeReserved, sysReserved corev1.ResourceList
	enforce                   []string
	thresholds                []eviction.Threshold
	credentials               *credential.Providers
	logMaxSize                int64
}

func (n *NodeFlags) validate() (s nodeSettings, err error) {
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, ip := range n.ExternalIPs {
		addr, err := netip.ParseAddr(ip)
		if err != nil {
			check(fmt.Errorf("--node-external-ip: %w", err))
		}
		s.externalIPs = append(s.externalIPs, addr)
	}
	s.sysReserved, err = reserved("--system-reserved", n.SystemReserved)
	check(err)
	s.kubeReserved, err = reserved("--kube-reserved", n.KubeReserved)
	check(err)
	s.enforce, err = n.enforced()
	check(err)
	hard := n.EvictionHard
	if hard == nil {
		hard = eviction.DefaultHard()
	}
	s.thresholds, err = eviction.Thresholds(hard, n.EvictionSoft, n.EvictionSoftGrace, n.EvictionReclaim)
	check(err)
	if s.thresholds == nil {
		s.thresholds = []eviction.Threshold{} // none, not the defaults
	}
	size, err := resource.ParseQuantity(n.LogMaxSize)
	if err != nil || size.Sign() <= 0 && size.Value() != -1 {
		check(fmt.Errorf("--container-log-max-size %q is not a size", n.LogMaxSize))
	}
	s.logMaxSize = size.Value()
	s.credentials, err = credential.Open(n.CredentialConfig, n.CredentialBinDir)
	check(err)
	check(n.validateNumbers())
	return s, errors.Join(errs...)
}

func (n *NodeFlags) validateNumbers() error {
	switch {
	case n.LogMaxFiles < 2 || n.LogMaxFiles > math.MaxInt32:
		return fmt.Errorf("--container-log-max-files %d: must be more than 1", n.LogMaxFiles)
	case n.ImageGCHigh < 0 || n.ImageGCHigh > 100 || n.ImageGCLow < 0 || n.ImageGCLow > 100:
		return fmt.Errorf("--image-gc-high-threshold %d, --image-gc-low-threshold %d: must be between 0 and 100", n.ImageGCHigh, n.ImageGCLow)
	case n.ImageGCLow >= n.ImageGCHigh:
		return fmt.Errorf("--image-gc-low-threshold %d must be less than --image-gc-high-threshold %d", n.ImageGCLow, n.ImageGCHigh)
	case n.ImageMinAge < 0 || n.ImageMaxAge < 0:
		return fmt.Errorf("--minimum-image-ttl-duration %v, --image-maximum-gc-age %v: must not be negative", n.ImageMinAge, n.ImageMaxAge)
	case n.ImageMaxAge > 0 && n.ImageMaxAge <= n.ImageMinAge:
		return fmt.Errorf("--image-maximum-gc-age %v must be more than --minimum-image-ttl-duration %v", n.ImageMaxAge, n.ImageMinAge)
	case n.EvictionTransition < 0:
		return fmt.Errorf("--eviction-pressure-transition-period %v: must not be negative", n.EvictionTransition)
	case n.EvictionMaxPodGrace < 0:
		return fmt.Errorf("--eviction-max-pod-grace-period %d: must not be negative", n.EvictionMaxPodGrace)
	case n.ShutdownGrace < 0 || n.ShutdownGrace > 0 && n.ShutdownGrace < time.Second || n.ShutdownGraceCritical < 0 || n.ShutdownGraceCritical > 0 && n.ShutdownGraceCritical < time.Second:
		return fmt.Errorf("--shutdown-grace-period %v, --shutdown-grace-period-critical-pods %v: must be 0 or at least a second", n.ShutdownGrace, n.ShutdownGraceCritical)
	case n.ShutdownGraceCritical > n.ShutdownGrace:
		return fmt.Errorf("--shutdown-grace-period-critical-pods %v must not be more than --shutdown-grace-period %v", n.ShutdownGraceCritical, n.ShutdownGrace)
	case n.PodsPerCore < 0:
		return fmt.Errorf("--pods-per-core %d: must not be negative", n.PodsPerCore)
	}
	return nil
}

// enforced checks --enforce-node-allocatable.
func (n *NodeFlags) enforced() ([]string, error) {
	words := n.Enforce
	if slices.Equal(words, []string{"none"}) || slices.Equal(words, []string{""}) {
		return []string{}, nil
	}
	for _, w := range words {
		var cgroup, option string
		switch w {
		case kubelet.EnforcePods:
			continue
		case kubelet.EnforceSystem, kubelet.EnforceSystemCompressible:
			cgroup, option = n.SystemReservedCgroup, "--system-reserved-cgroup"
		case kubelet.EnforceKube, kubelet.EnforceKubeCompressible:
			cgroup, option = n.KubeReservedCgroup, "--kube-reserved-cgroup"
		default:
			return nil, fmt.Errorf("--enforce-node-allocatable %q: unknown; none stands alone", w)
		}
		if cgroup == "" {
			return nil, fmt.Errorf("--enforce-node-allocatable %s needs %s", w, option)
		}
		if base, ok := strings.CutSuffix(w, "-compressible"); ok && slices.Contains(words, base) {
			return nil, fmt.Errorf("--enforce-node-allocatable: %s and %s exclude each other", w, base)
		}
	}
	return words, nil
}

func reserved(option string, from map[string]string) (corev1.ResourceList, error) {
	out := corev1.ResourceList{}
	for _, name := range slices.Sorted(maps.Keys(from)) {
		switch corev1.ResourceName(name) {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, podres.PIDs:
		default:
			return nil, fmt.Errorf("%s %s: cannot be reserved; cpu, memory, ephemeral-storage and pid can", option, name)
		}
		q, err := resource.ParseQuantity(from[name])
		if err != nil || q.Sign() < 0 {
			return nil, fmt.Errorf("%s %s=%s: not a positive quantity", option, name, from[name])
		}
		out[corev1.ResourceName(name)] = q
	}
	return out, nil
}

// configure the kubelet.
func (n *NodeFlags) configure(c *kubelet.Config, s nodeSettings) {
	c.ProviderID, c.ExternalIPs = n.ProviderID, s.externalIPs
	c.KubeReserved, c.SystemReserved, c.Enforce = s.kubeReserved, s.sysReserved, s.enforce
	c.KubeReservedCgroup, c.SystemReservedCgroup, c.PodsPerCore = n.KubeReservedCgroup, n.SystemReservedCgroup, n.PodsPerCore
	c.Thresholds, c.SoftGrace, c.PressureTransition = s.thresholds, time.Duration(n.EvictionMaxPodGrace)*time.Second, max(n.EvictionTransition, 1)
	c.ImageGCHigh, c.ImageGCLow = float64(n.ImageGCHigh)/100, max(float64(n.ImageGCLow)/100, 0.001)
	c.ImageMinAge, c.ImageMaxAge = n.ImageMinAge, n.ImageMaxAge
	if c.ImageMinAge == 0 {
		c.ImageMinAge = -1
	}
	c.LogMaxSize, c.LogMaxFiles = s.logMaxSize, n.LogMaxFiles
	c.ShutdownGrace, c.ShutdownGraceCritical, c.Credentials = n.ShutdownGrace, n.ShutdownGraceCritical, s.credentials
	c.Logind = func() (kubelet.Logind, error) { return logind.Dial() }
}
