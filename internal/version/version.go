// Package version holds what the linker stamps into the executable.
package version

import "runtime"

// Set by the linker (see Makefile).
var (
	// Version of skiff itself, e.g. "v0.1.0" or "v0.1.0-12-gabcdef0".
	Version = "v0.0.0-dev"
	Commit  = "unknown"
	Date    = "1970-01-01T00:00:00Z"
)

// Kubernetes is the release whose API is served.
const Kubernetes = "v1.37.2"

// GitVersion is what /version and a node's kubeletVersion say: a semantic version that clients compare by its first part.
func GitVersion() string { return Kubernetes + "+skiff" }

// UserAgent is how a part of skiff that does the work of an upstream component (kubelet, kube-proxy) names itself: the part before the slash is the name
// under which the fields that it writes are managed.
func UserAgent(component string) string {
	return component + "/" + GitVersion() + " (" + Platform() + ") skiff/" + Version
}

// Platform is os/arch.
func Platform() string { return runtime.GOOS + "/" + runtime.GOARCH }
