package image

import (
	"fmt"
	"regexp"
	"strings"
)

// Reference is a parsed and normalised image name: "nginx" is docker.io/library/nginx:latest.
type Reference struct {
	Registry string // "docker.io", "localhost:5000"
	Repo     string // "library/nginx"
	Tag      string // "" if only a digest was given
	Digest   string // "sha256:…" or ""
}

var (
	repoPattern   = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	hostPattern   = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?$`)
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

const (
	dockerHub     = "docker.io"
	maxRepoLength = 255
)

// ParseReference parses and normalises ref as docker does.
func ParseReference(ref string) (Reference, error) {
	bad := func(why string) (Reference, error) {
		return Reference{}, fmt.Errorf("%w %q: %s", ErrBadReference, ref, why)
	}
	var r Reference
	rest, digest, hasDigest := strings.Cut(ref, "@")
	if hasDigest {
		if !digestPattern.MatchString(digest) {
			return bad("the digest must be sha256: and 64 lower-case hex digits")
		}
		r.Digest = digest
	}
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest, r.Tag = rest[:i], rest[i+1:]
		if !tagPattern.MatchString(r.Tag) {
			return bad("bad tag")
		}
	}
	host, repo, hasHost := strings.Cut(rest, "/")
	if !hasHost || !(strings.ContainsAny(host, ".:[") || host == "localhost" || strings.ToLower(host) != host) {
		host, repo = dockerHub, rest
	}
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = dockerHub
	}
	if host == dockerHub && repo != "" && !strings.Contains(repo, "/") {
		repo = "library/" + repo
	}
	switch {
	case !hostPattern.MatchString(host):
		return bad("bad registry host")
	case !repoPattern.MatchString(repo) || len(repo) > maxRepoLength:
		return bad("the repository must be lower-case words joined by / . _ or -")
	}
	r.Registry, r.Repo = host, repo
	if r.Tag == "" && r.Digest == "" {
		r.Tag = "latest"
	}
	return r, nil
}

// Repository is the name without tag and digest.
func (r Reference) Repository() string { return r.Registry + "/" + r.Repo }

// Name is repository:tag; "" without a tag.
func (r Reference) Name() string {
	if r.Tag == "" {
		return ""
	}
	return r.Repository() + ":" + r.Tag
}

// String is the whole reference.
func (r Reference) String() string {
	s := r.Repository()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}
