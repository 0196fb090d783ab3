package httpapi

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Summary is the answer of /stats/summary, in the shape that metrics collectors know.
type Summary struct {
	Node NodeStats  `json:"node"`
	Pods []PodStats `json:"pods"`
}

// NodeStats of the whole machine.
type NodeStats struct {
	NodeName  string    `json:"nodeName"`
	StartTime time.Time `json:"startTime"`
	CPU       *CPU      `json:"cpu,omitempty"`
	Memory    *Memory   `json:"memory,omitempty"`
	Fs        *Fs       `json:"fs,omitempty"`
	Runtime   *struct {
		ImageFs *Fs `json:"imageFs,omitempty"`
	} `json:"runtime,omitempty"`
}

// PodStats of one pod.
type PodStats struct {
	PodRef struct {
		Name      string    `json:"name"`
		Namespace string    `json:"namespace"`
		UID       types.UID `json:"uid"`
	} `json:"podRef"`
	StartTime  time.Time        `json:"startTime"`
	Containers []ContainerStats `json:"containers"`
	CPU        *CPU             `json:"cpu,omitempty"`
	Memory     *Memory          `json:"memory,omitempty"`
	Network    *Network         `json:"network,omitempty"`
	Processes  *struct {
		Count uint64 `json:"process_count"`
	} `json:"process_stats,omitempty"`
}

// ContainerStats of one container.
type ContainerStats struct {
	Name      string    `json:"name"`
	StartTime time.Time `json:"startTime"`
	CPU       *CPU      `json:"cpu,omitempty"`
	Memory    *Memory   `json:"memory,omitempty"`
}

// CPU use.
type CPU struct {
	Time                 time.Time `json:"time"`
	UsageNanoCores       *uint64   `json:"usageNanoCores,omitempty"`
	UsageCoreNanoSeconds uint64    `json:"usageCoreNanoSeconds"`
}

// Memory use.
type Memory struct {
	Time            time.Time `json:"time"`
	AvailableBytes  *uint64   `json:"availableBytes,omitempty"`
	UsageBytes      uint64    `json:"usageBytes"`
	WorkingSetBytes uint64    `json:"workingSetBytes"`
	RSSBytes        uint64    `json:"rssBytes"`
	PageFaults      uint64    `json:"pageFaults"`
	MajorPageFaults uint64    `json:"majorPageFaults"`
}

// Network use of a pod.
type Network struct {
	Time     time.Time `json:"time"`
	Name     string    `json:"name"`
	RxBytes  uint64    `json:"rxBytes"`
	RxErrors uint64    `json:"rxErrors"`
	TxBytes  uint64    `json:"txBytes"`
	TxErrors uint64    `json:"txErrors"`
}

// Fs use.
type Fs struct {
	Time           time.Time `json:"time"`
	AvailableBytes uint64    `json:"availableBytes"`
	CapacityBytes  uint64    `json:"capacityBytes"`
	UsedBytes      uint64    `json:"usedBytes"`
	InodesFree     uint64    `json:"inodesFree"`
	Inodes         uint64    `json:"inodes"`
}
