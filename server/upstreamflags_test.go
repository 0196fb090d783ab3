package server

import (
	_ "embed"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// kubeAPIServerFlags are the flags of kube-apiserver v1.37, from its option packages.
//
//go:embed testdata/kube-apiserver-flags.txt
var kubeAPIServerFlags string

func flagSet() *pflag.FlagSet {
	f := pflag.NewFlagSet("server", pflag.ContinueOnError)
	(&Config{}).AddFlags(f)
	AddUpstreamFlags(f)
	return f
}

// agentFlags are upstream's names for what the agent's half of the command line has.
var agentFlags = []string{"feature-gates", "kubelet-port"}

func TestEveryFlagOfKubeAPIServer(t *testing.T) {
	f := flagSet()
	for name := range strings.FieldsSeq(kubeAPIServerFlags) {
		if f.Lookup(name) == nil && !slices.Contains(agentFlags, name) {
			t.Errorf("--%s is neither a flag nor refused", name)
		}
	}
	for _, group := range upstreamFlags {
		if group.Reason == "" {
			t.Errorf("%s are refused without a reason", group.Names)
		}
	}
}

func TestUpstreamFlags(t *testing.T) {
	for _, test := range []struct{ arg, err string }{
		{"--allow-privileged=true", ""},
		{"--allow-privileged", ""},
		{"--allow-privileged=false", "kept off by Pod Security"},
		{"--profiling=false", ""},
		{"--profiling", "--debug-socket"},
		{"--etcd-servers=https://x:2379", "etcd runs inside the server"},
		{"--secure-port=6443", "write --https-listen-port"},
		{"--no-such-flag=1", "unknown flag"},
	} {
		err := flagSet().Parse([]string{test.arg})
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: got %v, want %q", test.arg, err, test.err)
		}
	}
}
