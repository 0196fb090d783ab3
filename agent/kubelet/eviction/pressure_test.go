package eviction

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestFlags(t *testing.T) {
	for _, c := range []struct {
		hard, soft, grace, reclaim map[string]string
		want                       string
	}{
		{hard: map[string]string{"memory.free": "1"}, want: `unknown signal "memory.free"`},
		{hard: map[string]string{"allocatableMemory.available": "1"}, want: "unknown signal"},
		{hard: map[string]string{"memory.available": "-1"}, want: "not a positive quantity"},
		{hard: map[string]string{"memory.available": "101%"}, want: "not a percentage"},
		{hard: map[string]string{"memory.available": "lots"}, want: "not a positive quantity"},
		{soft: map[string]string{"memory.available": "1Gi"}, want: "needs a --eviction-soft-grace-period"},
		{soft: map[string]string{"memory.available": "1Gi"}, grace: map[string]string{"memory.available": "soon"}, want: "not a positive duration"},
		{grace: map[string]string{"memory.available": "1m"}, want: "no --eviction-soft"},
		{reclaim: map[string]string{"cpu": "1"}, want: "unknown signal"},
	} {
		if _, err := Thresholds(c.hard, c.soft, c.grace, c.reclaim); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c, err)
		}
	}
	got, err := Thresholds(map[string]string{"nodefs.available": "0%", "pid.available": "100"}, nil, nil, nil)
	if err != nil || len(got) != 1 || got[0].Signal != PIDAvailable {
		t.Errorf("%v %v", got, err)
	}
	if all, err := Thresholds(DefaultHard(), nil, nil, nil); err != nil || len(all) != 5 {
		t.Errorf("%v %v", all, err)
	}
}

func TestPressure(t *testing.T) {
	th, err := Thresholds(map[string]string{"memory.available": "100", "pid.available": "10%"}, map[string]string{"nodefs.inodesFree": "50%"},
		map[string]string{"nodefs.inodesFree": "1m"}, map[string]string{"memory.available": "50"})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var s State
	for _, c := range []struct {
		after               time.Duration
		memory, inodes, pid int64
		short, conditions   string
	}{
		{0, 1000, 600, 500, "", ""},
		{10 * time.Second, 99, 600, 500, "memory.available", "MemoryPressure"},
		{10 * time.Second, 120, 600, 500, "memory.available", "MemoryPressure"},                           // not yet what has to be reclaimed
		{10 * time.Second, 160, 499, 500, "", "DiskPressure MemoryPressure"},                              // soft: a condition, but no eviction yet
		{50 * time.Second, 160, 499, 99, "pid.available", "DiskPressure MemoryPressure PIDPressure"},      // 10 % of 1000
		{10 * time.Second, 120, 400, 500, "nodefs.inodesFree", "DiskPressure MemoryPressure PIDPressure"}, // its grace is over
		{time.Second, 50, 400, 500, "memory.available nodefs.inodesFree", "DiskPressure MemoryPressure PIDPressure"},
		{time.Minute, 1000, 600, 500, "", "DiskPressure MemoryPressure PIDPressure"},
		{4*time.Minute + 59*time.Second, 1000, 600, 500, "", ""}, // the transition period is over
		{time.Second, 1000, 400, 500, "", "DiskPressure"},        // the grace starts over
	} {
		now = now.Add(c.after)
		var r Result
		s, r = Look(th, map[Signal]Observation{MemoryAvailable: {c.memory, 1000}, NodeFsInodes: {c.inodes, 1000}, PIDAvailable: {c.pid, 1000}}, s, 5*time.Minute, now)
		var short, conditions []string
		for _, x := range r.Short {
			short = append(short, string(x.Signal))
		}
		for _, x := range []corev1.NodeConditionType{corev1.NodeDiskPressure, corev1.NodeMemoryPressure, corev1.NodePIDPressure} {
			if r.Conditions[x] {
				conditions = append(conditions, string(x))
			}
		}
		if got := strings.Join(short, " "); got != c.short {
			t.Errorf("%v: short of %q, want %q", now, got, c.short)
		}
		if got := strings.Join(conditions, " "); got != c.conditions {
			t.Errorf("%v: conditions %q, want %q", now, got, c.conditions)
		}
	}
}
