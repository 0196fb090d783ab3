package main

import (
	"fmt"
	"strings"
)

// figure is one line of the result: what upstream costs on this kind of machine, what is required, what is the goal.
// Zero: there is none.
type figure struct {
	key, what, unit          string
	upstream, required, goal float64
	more                     bool // more is better
	compare                  bool // the client's own cost, which says how much faster or slower this machine is than upstream's
	value                    float64
	measured                 bool
	note                     string
}

// figures are printed in this order. Upstream: Kubernetes v1.37.2 with etcd and containerd, measured on the same kind of machine.
func figures() []*figure {
	return []*figure{
		{key: "idle/pss", what: "idle: memory of all processes, PSS", unit: "MiB", upstream: 704, required: 150, goal: 100},
		{key: "idle/anonymous", what: "idle: of it anonymous", unit: "MiB", upstream: 321, required: 70, goal: 45},
		{key: "idle/cpu", what: "idle: CPU of one core", unit: "%", upstream: 6.5, required: 1.5, goal: 1.0},
		{key: "idle/switches", what: "idle: context switches", unit: "/s", upstream: 1863, goal: 150},
		{key: "idle/writes", what: "idle: disk writes", unit: "kB/min", upstream: 3300, goal: 30},
		{key: "idle/fsync", what: "idle: fsync and fdatasync", unit: "/min", upstream: 288, required: 12, goal: 5},
		{key: "disk", what: "executables on disk", unit: "MB", upstream: 578, goal: 75},

		{key: "start/ready", what: "empty data → node Ready", unit: "s", upstream: 4.3, required: 2.0, goal: 1.0},
		{key: "start/pod", what: "empty data → first pod Running", unit: "s", upstream: 10.1, required: 2.5, goal: 1.5},
		{key: "start/again", what: "restart with data → new pod Running", unit: "s", upstream: 4.9, required: 1.5, goal: 1.0},
		{key: "start/cpu", what: "start from empty data until Ready, CPU", unit: "s"},

		{key: "pods/running50", what: "create → Running, one at a time, p50", unit: "ms", upstream: 556, required: 150, goal: 80},
		{key: "pods/running90", what: "create → Running, p90", unit: "ms", upstream: 608},
		{key: "pods/running99", what: "create → Running, p99", unit: "ms", upstream: 730, goal: 200},
		{key: "pods/scheduled", what: "create → scheduled, p50", unit: "ms", upstream: 12, goal: 2},
		{key: "pods/gone", what: "delete, process ends on TERM → gone, p50", unit: "ms", upstream: 923, goal: 100},
		{key: "pods/cpuone", what: "one pod created and deleted, CPU", unit: "ms"},
		{key: "pods/up", what: "Deployment 0 → 50 Ready", unit: "s", upstream: 11.9, required: 5, goal: 2.5},
		{key: "pods/upcpu", what: "Deployment 0 → 50 Ready, CPU a pod", unit: "s", upstream: 0.45, goal: 0.09},
		{key: "pods/down", what: "Deployment 50 → 0 gone", unit: "s", upstream: 10.9, goal: 2.5},
		{key: "pods/memory", what: "memory a pod beside the workload, PSS", unit: "MiB", upstream: 5.1, required: 4, goal: 1},
		{key: "pods/daemon", what: "memory of the daemon a pod, anonymous", unit: "MiB"},
		{key: "pods/idlecpu", what: "100 idle pods, CPU of one core", unit: "%", upstream: 48, goal: 3},

		{key: "api/create1", what: "create ConfigMap of 1 KiB, JSON, 1 worker", unit: "/s", upstream: 197, goal: 800, more: true},
		{key: "api/create8", what: "create, 8 workers", unit: "/s", upstream: 564, goal: 1700, more: true},
		{key: "api/create32", what: "create, 32 workers", unit: "/s", upstream: 583, goal: 1800, more: true},
		{key: "api/createcpu", what: "create, server CPU", unit: "ms", upstream: 2.8, required: 1.4, goal: 0.6},
		{key: "api/createclient", what: "create, client CPU (compares the machines)", unit: "ms", upstream: 0.46, compare: true},
		{key: "api/get1", what: "get ConfigMap, JSON, 1 worker", unit: "/s", upstream: 481, goal: 1700, more: true},
		{key: "api/get8", what: "get, 8 workers", unit: "/s", upstream: 1232, goal: 3300, more: true},
		{key: "api/get32", what: "get, 32 workers", unit: "/s", upstream: 1353, goal: 3500, more: true},
		{key: "api/getcpu", what: "get, server CPU", unit: "ms", upstream: 1.1, required: 0.55, goal: 0.2},
		{key: "api/getclient", what: "get, client CPU (compares the machines)", unit: "ms", upstream: 0.37, compare: true},
		{key: "api/patch1", what: "merge patch, JSON, 1 worker", unit: "/s", upstream: 178, goal: 700, more: true},
		{key: "api/patch8", what: "patch, 8 workers", unit: "/s", upstream: 406, goal: 1500, more: true},
		{key: "api/patch32", what: "patch, 32 workers", unit: "/s", upstream: 511, goal: 1600, more: true},
		{key: "api/patchcpu", what: "patch, server CPU", unit: "ms", upstream: 3.8, goal: 0.8},
		{key: "api/patchclient", what: "patch, client CPU (compares the machines)", unit: "ms"},
		{key: "api/listjson", what: "list 5,000 pods, JSON", unit: "ms", upstream: 322, goal: 60},
		{key: "api/listproto", what: "list 5,000 pods, protobuf", unit: "ms", upstream: 154, goal: 30},
		{key: "api/listgzip", what: "list 5,000 pods, JSON gzip", unit: "ms", upstream: 163, goal: 60},
		{key: "api/deletecollection", what: "delete collection of 5,000 pods", unit: "s", upstream: 34.7, goal: 2},
		{key: "api/watchjson", what: "100 watchers × 1,000 events, JSON", unit: "s", upstream: 4.6, goal: 1.8},
		{key: "api/watchjsoncpu", what: "100 watchers × 1,000 events, JSON, server CPU", unit: "s", upstream: 4.1, goal: 0.5},
		{key: "api/watchproto", what: "100 watchers × 1,000 events, protobuf", unit: "s", upstream: 3.3, goal: 1.4},
		{key: "api/watchprotocpu", what: "100 watchers × 1,000 events, protobuf, server CPU", unit: "s", upstream: 3.4, goal: 0.4},
		{key: "api/memory", what: "memory after 10,000 ConfigMaps of 1 KiB, PSS", unit: "MiB more", upstream: 166, goal: 25},
		{key: "api/memoryanon", what: "of it anonymous", unit: "MiB more"},

		{key: "scheduler/rate", what: "scheduler: 2,000 pods on 200 nodes", unit: "pods/s", upstream: 231, goal: 1000, more: true},
		{key: "scheduler/cpu", what: "scheduler: server CPU a pod, creation and binding", unit: "ms", upstream: 7.7, goal: 0.9},

		{key: "services/create", what: "1,000 Services × 5 endpoints: creating them", unit: "s", upstream: 11.3, goal: 2},
		{key: "services/createcpu", what: "Services: server CPU a pair of Service and slice", unit: "ms", upstream: 10.9, goal: 1.5},
		{key: "services/last", what: "Services: last one created → answers", unit: "ms", upstream: 450, goal: 50},
		{key: "services/change", what: "Services: one endpoint change → answers, p50", unit: "ms", upstream: 111, goal: 10},
		{key: "services/changecpu", what: "Services: one endpoint change, CPU", unit: "ms", upstream: 115, goal: 2},
		{key: "services/next", what: "Services: the next one right after a slice write", unit: "ms", upstream: 1200, goal: 20},
		{key: "services/memory", what: "Services: memory for them, all of skiff, anonymous", unit: "MiB more", upstream: 27, goal: 8},
	}
}

// verdict compares with what is required, or with the goal where nothing is required.
func (f *figure) verdict() string {
	better := func(limit float64) bool { return f.more == (f.value > limit) || f.value == limit }
	switch {
	case f.compare:
		return fmt.Sprintf("%.1f× the speed", f.upstream/f.value)
	case f.goal != 0 && better(f.goal):
		return "goal"
	case f.required != 0 && better(f.required):
		return "pass"
	case f.required != 0:
		return "FAIL"
	case f.goal != 0 && f.upstream != 0 && better(f.upstream):
		return "goal missed"
	case f.upstream != 0 && !better(f.upstream):
		return "worse than upstream"
	}
	return ""
}

func number(v float64) string {
	switch {
	case v == 0:
		return ""
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	case v >= 1:
		return strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.2f", v), "0"), ".0")
	}
	return fmt.Sprintf("%.2g", v)
}

// table is the result in Markdown.
func table(all []*figure) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %-52s | %9s | %-8s | %8s | %8s | %6s | %-12s | %s |\n", "what", "skiff", "unit", "upstream", "required", "goal", "verdict", "note")
	fmt.Fprintf(&b, "| %s | ---: | --- | ---: | ---: | ---: | --- | --- |\n", strings.Repeat("-", 52))
	for _, f := range all {
		if !f.measured {
			continue
		}
		value := number(f.value)
		if f.value == 0 {
			value = "0"
		}
		fmt.Fprintf(&b, "| %-52s | %9s | %-8s | %8s | %8s | %6s | %-12s | %s |\n",
			f.what, value, f.unit, number(f.upstream), number(f.required), number(f.goal), f.verdict(), f.note)
	}
	return b.String()
}
