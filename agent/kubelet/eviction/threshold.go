package eviction

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is something of which there may be too little, by the name that flags have for it.
type Signal string

// Signals. AllocatableMemory is what is left of the memory that all pods together may have; it has memory.available's threshold.
const (
	MemoryAvailable   Signal = "memory.available"
	AllocatableMemory Signal = "allocatableMemory.available"
	NodeFsAvailable   Signal = "nodefs.available"
	NodeFsInodes      Signal = "nodefs.inodesFree"
	ImageFsAvailable  Signal = "imagefs.available"
	ImageFsInodes     Signal = "imagefs.inodesFree"
	PIDAvailable      Signal = "pid.available"
)

// signals in the order in which their resources are reclaimed: memory first.
var signals = []struct {
	signal    Signal
	condition corev1.NodeConditionType
	resource  corev1.ResourceName
}{
	{MemoryAvailable, corev1.NodeMemoryPressure, corev1.ResourceMemory},
	{AllocatableMemory, corev1.NodeMemoryPressure, corev1.ResourceMemory},
	{NodeFsAvailable, corev1.NodeDiskPressure, corev1.ResourceEphemeralStorage},
	{NodeFsInodes, corev1.NodeDiskPressure, ResourceInodes},
	{ImageFsAvailable, corev1.NodeDiskPressure, corev1.ResourceEphemeralStorage},
	{ImageFsInodes, corev1.NodeDiskPressure, ResourceInodes},
	{PIDAvailable, corev1.NodePIDPressure, ResourcePIDs},
}

// Resources that only the eviction knows.
const (
	ResourceInodes corev1.ResourceName = "inodes"
	ResourcePIDs   corev1.ResourceName = "pids"
)

func rank(s Signal) int {
	for i := range signals {
		if signals[i].signal == s {
			return i
		}
	}
	return -1
}

// Amount is a number (bytes, inodes, processes), or a share of the capacity between 0 and 1.
type Amount struct {
	Number int64
	Share  float64
}

// Of a capacity.
func (a Amount) Of(capacity int64) int64 {
	if a.Share > 0 {
		return int64(float64(capacity) * a.Share)
	}
	return a.Number
}

// String is the amount as a flag has it.
func (a Amount) String() string {
	if a.Share > 0 {
		return strconv.FormatFloat(a.Share*100, 'f', -1, 64) + "%"
	}
	return resource.NewQuantity(a.Number, resource.BinarySI).String()
}

// Threshold below which pods are evicted: at once, or if Soft after it has been passed for Grace.
type Threshold struct {
	Signal  Signal
	Below   Amount
	Soft    bool
	Grace   time.Duration
	Reclaim Amount // so much more is freed than the threshold asks for
}

// DefaultHard are upstream's thresholds.
func DefaultHard() map[string]string {
	return map[string]string{"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%", "imagefs.available": "15%", "imagefs.inodesFree": "5%"}
}

// Thresholds reads what the flags --eviction-hard, -soft, -soft-grace-period and -minimum-reclaim say.
func Thresholds(hard, soft, grace, reclaim map[string]string) (out []Threshold, err error) {
	for _, list := range []struct {
		flag string
		from map[string]string
		soft bool
	}{{"--eviction-hard", hard, false}, {"--eviction-soft", soft, true}} {
		for _, name := range slices.Sorted(maps.Keys(list.from)) {
			t := Threshold{Signal: Signal(name), Soft: list.soft}
			if t.Below, err = amount(list.flag, name, list.from[name]); err != nil {
				return nil, err
			}
			if t.Soft {
				g, ok := grace[name]
				if !ok {
					return nil, fmt.Errorf("--eviction-soft %s needs a --eviction-soft-grace-period of its own", name)
				}
				if t.Grace, err = time.ParseDuration(g); err != nil || t.Grace <= 0 {
					return nil, fmt.Errorf("--eviction-soft-grace-period %s=%s: not a positive duration", name, g)
				}
			}
			if r, ok := reclaim[name]; ok {
				if t.Reclaim, err = amount("--eviction-minimum-reclaim", name, r); err != nil {
					return nil, err
				}
			}
			if t.Below.Share < 1 && t.Below != (Amount{}) { // 0% and 100% switch a threshold off
				out = append(out, t)
			}
		}
	}
	for name := range grace {
		if _, ok := soft[name]; !ok {
			return nil, fmt.Errorf("--eviction-soft-grace-period %s: there is no --eviction-soft for it", name)
		}
	}
	for name := range reclaim {
		if rank(Signal(name)) < 0 || Signal(name) == AllocatableMemory {
			return nil, unknown("--eviction-minimum-reclaim", name)
		}
	}
	return out, nil
}

func unknown(flag, name string) error {
	return fmt.Errorf("%s: unknown signal %q; known are memory.available, nodefs.available, nodefs.inodesFree, imagefs.available, imagefs.inodesFree, pid.available", flag, name)
}

func amount(flag, name, text string) (a Amount, err error) {
	if rank(Signal(name)) < 0 || Signal(name) == AllocatableMemory {
		return a, unknown(flag, name)
	}
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		f, err := strconv.ParseFloat(percent, 64)
		if err != nil || f < 0 || f > 100 {
			return a, fmt.Errorf("%s %s: %q is not a percentage between 0%% and 100%%", flag, name, text)
		}
		return Amount{Share: f / 100}, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil || q.Sign() < 0 {
		return a, fmt.Errorf("%s %s: %q is not a positive quantity", flag, name, text)
	}
	return Amount{Number: q.Value()}, nil
}

// Hard returns the hard threshold of a signal.
func Hard(list []Threshold, s Signal) (Amount, bool) {
	for _, t := range list {
		if t.Signal == s && !t.Soft {
			return t.Below, true
		}
	}
	return Amount{}, false
}
