package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"codeberg.org/skiff/skiff/agent/kubelet"
)

func parseNodeFlags(t *testing.T, args ...string) (NodeFlags, nodeSettings, error) {
	t.Helper()
	var n NodeFlags
	f := pflag.NewFlagSet("skiff", pflag.ContinueOnError)
	n.addFlags(f)
	if err := f.Parse(args); err != nil {
		return n, nodeSettings{}, err
	}
	s, err := n.validate()
	return n, s, err
}

// TestUnusableFlags: what cannot be done is said, and not left out.
func TestUnusableFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--kube-reserved=gpu=1":                                                 "cannot be reserved",
		"--system-reserved=memory=-1":                                           "not a positive quantity",
		"--enforce-node-allocatable=everything":                                 "unknown",
		"--enforce-node-allocatable=pods,none":                                  "unknown",
		"--enforce-node-allocatable=system-reserved":                            "needs --system-reserved-cgroup",
		"--eviction-hard=memory.available":                                      "",
		"--eviction-hard=memory.avail<1":                                        "unknown signal",
		"--eviction-hard=nodefs.available<200%":                                 "not a percentage",
		"--eviction-soft=memory.available<1Gi":                                  "needs a --eviction-soft-grace-period",
		"--eviction-pressure-transition-period=-1s":                             "must not be negative",
		"--image-gc-high-threshold=70":                                          "must be less than",
		"--image-gc-high-threshold=101":                                         "between 0 and 100",
		"--image-maximum-gc-age=1m":                                             "must be more than",
		"--container-log-max-size=big":                                          "is not a size",
		"--container-log-max-files=1":                                           "more than 1",
		"--node-external-ip=here":                                               "ParseAddr",
		"--reserved-cpus=0-1":                                                   "write --system-reserved=cpu=N",
		"--cpu-manager-policy=static":                                           "pods share all CPUs",
		"--pods-per-core=-1":                                                    "must not be negative",
		"--shutdown-grace-period=10s --shutdown-grace-period-critical-pods=20s": "must not be more than",
		"--shutdown-grace-period=10ms":                                          "at least a second",
		"--image-credential-provider-bin-dir=/x":                                "belong together",
		"--eviction-minimum-reclaim=disk=1":                                     "unknown signal",
		"--kube-reserved-cgroup=/x --enforce-node-allocatable=kube-reserved,kube-reserved-compressible": "exclude each other",
	} {
		if _, _, err := parseNodeFlags(t, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestNodeFlags(t *testing.T) {
	n, s, err := parseNodeFlags(t, "--cpu-manager-policy=none", "--kube-reserved=cpu=100m,memory=1Gi,pid=100", "--eviction-hard=memory.available<1Gi,pid.available<5%", "--eviction-soft=nodefs.available<20%",
		"--eviction-soft-grace-period=nodefs.available=1m", "--container-log-max-size=1Mi", "--image-gc-high-threshold=100", "--enforce-node-allocatable=none", "--provider-id=cloud://1",
		"--node-external-ip=203.0.113.1")
	if err != nil {
		t.Fatal(err)
	}
	var c kubelet.Config
	n.configure(&c, s)
	if c.KubeReserved.Memory().Value() != 1<<30 || len(c.Thresholds) != 3 || len(c.Enforce) != 0 || c.Enforce == nil || c.LogMaxSize != 1<<20 || c.ImageGCHigh != 1 ||
		c.ProviderID != "cloud://1" || len(c.ExternalIPs) != 1 || c.PressureTransition != 5*time.Minute {
		t.Errorf("%+v", c)
	}
	if _, s, err = parseNodeFlags(t); err != nil || len(s.thresholds) != 5 || len(s.enforce) != 1 {
		t.Errorf("defaults: %+v %v", s, err)
	}
}
