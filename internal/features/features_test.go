package features

import (
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	for _, test := range []struct{ name, value, err string }{
		{"InPlacePodVerticalScaling", "true", ""},
		{"InPlacePodVerticalScaling", "false", "feature is locked to true"},
		{"EnvFiles", "true", ""},
		{"EnvFiles", "false", "this feature is always on"},
		{"WorkloadWithJob", "true", "this alpha feature is not there"},
		{"WorkloadWithJob", "false", ""},
		{"HPAScaleToZero", "true", "there is no autoscaler yet"},
		{"HPAScaleToZero", "false", ""},
		{"PodTopologyLabelsAdmission", "false", ""},
		{"AllAlpha", "false", ""},
		{"AllAlpha", "true", "one by one"},
		{"AllBeta", "false", "one by one"},
		{"NoSuchGate", "true", "unrecognized feature gate: NoSuchGate"},
		{"EnvFiles", "yes", "expected true or false"},
	} {
		_, err := New(map[string]string{test.name: test.value})
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s=%s: got %v, want %q", test.name, test.value, err, test.err)
		}
	}
}

func TestEnabled(t *testing.T) {
	g, err := New(map[string]string{"PodTopologyLabelsAdmission": "false"})
	if err != nil || g.Enabled("PodTopologyLabelsAdmission") || !(Gates{}).Enabled("PodTopologyLabelsAdmission") {
		t.Errorf("a gate that may be either: %v", err)
	}
	if !g.Enabled("EnvFiles") || g.Enabled("HPAScaleToZero") {
		t.Error("a gate that the flag does not name")
	}
}

// TestTable: every line is whole, and what differs from upstream's default says why.
func TestTable(t *testing.T) {
	lines := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "#") {
			lines++
		}
	}
	if lines != len(gates) || lines < 200 {
		t.Errorf("%d lines, %d gates", lines, len(gates))
	}
	for name, g := range gates {
		if !strings.Contains("Alpha Beta GA Deprecated", g.stage) {
			t.Errorf("%s: stage %q", name, g.stage)
		}
		if !g.either && g.here != g.byDefault && (g.reason == "" || g.locked) {
			t.Errorf("%s is not as by default; the table must say why", name)
		}
	}
}
