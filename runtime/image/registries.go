package image

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"
)

// registries is registries.yaml, in k3s's format.
type registries struct {
	Mirrors map[string]mirrorConfig `json:"mirrors"`
	Configs map[string]hostConfig   `json:"configs"`
}

type mirrorConfig struct {
	Endpoints []string `json:"endpoint"`
	// Rewrites of the repository: regular expression → replacement.
	Rewrites map[string]string `json:"rewrite"`
}

type hostConfig struct {
	Auth *struct {
		Username      string `json:"username"`
		Password      string `json:"password"`
		Auth          string `json:"auth"` // base64 of username:password
		Token         string `json:"token"`
		IdentityToken string `json:"identity_token"`
	} `json:"auth"`
	TLS *struct {
		CAFile             string `json:"ca_file"`
		CertFile           string `json:"cert_file"`
		KeyFile            string `json:"key_file"`
		InsecureSkipVerify bool   `json:"insecure_skip_verify"`
	} `json:"tls"`
}

// registriesFile reads the file again when it has changed.
type registriesFile struct {
	path string
	mu   sync.Mutex
	mod  time.Time
	size int64
	last *registries
}

func (f *registriesFile) read() (*registries, error) {
	if f.path == "" {
		return &registries{}, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	st, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return &registries{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the registries file: %w", err)
	}
	if f.last != nil && st.ModTime().Equal(f.mod) && st.Size() == f.size {
		return f.last, nil
	}
	raw, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("reading the registries file: %w", err)
	}
	r := &registries{}
	if err := yaml.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.path, err)
	}
	f.mod, f.size, f.last = st.ModTime(), st.Size(), r
	return r, nil
}

// endpoint is one place to ask for a repository.
type endpoint struct {
	host   string // host[:port] to talk to
	root   string // path before the repository: "/v2", or what a mirror's URL says
	repo   string
	ns     string // the registry that a mirror stands for; "" for the registry itself
	http   bool   // may speak plain HTTP
	https  bool   // may speak HTTPS
	config hostConfig
}

// endpoints lists the mirrors of ref's registry in order, then the registry itself.
func (r *registries) endpoints(ref Reference) ([]endpoint, error) {
	mirror, ok := r.Mirrors[ref.Registry]
	if !ok {
		mirror = r.Mirrors["*"]
	}
	own := ref.Registry
	if own == dockerHub {
		own = "registry-1.docker.io"
	}
	var list []endpoint
	direct := false
	for _, raw := range mirror.Endpoints {
		e, err := parseEndpoint(raw)
		if err != nil {
			return nil, err
		}
		if e.repo, err = rewrite(ref.Repo, mirror.Rewrites); err != nil {
			return nil, err
		}
		if e.host == own && e.repo == ref.Repo {
			direct = true
		} else {
			e.ns = ref.Registry
		}
		e.config = r.config(e.host)
		list = append(list, e)
	}
	if !direct {
		cfg := r.config(own)
		if cfg == (hostConfig{}) && own != ref.Registry {
			cfg = r.config(ref.Registry)
		}
		list = append(list, endpoint{host: own, root: "/v2", repo: ref.Repo, http: isLoopback(own), https: true, config: cfg})
	}
	return list, nil
}

func (r *registries) config(host string) hostConfig {
	if c, ok := r.Configs[host]; ok {
		return c
	}
	return r.Configs["*"]
}

func parseEndpoint(raw string) (endpoint, error) {
	bare := !strings.Contains(raw, "://")
	if bare {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return endpoint{}, fmt.Errorf("registries file: bad mirror endpoint %q", raw)
	}
	root := strings.TrimSuffix(u.Path, "/")
	if root == "" {
		root = "/v2"
	}
	// Without a scheme one of loopback may speak either, as in k3s; TLS is tried first.
	return endpoint{host: u.Host, root: root, http: u.Scheme == "http" || bare && isLoopback(u.Host), https: u.Scheme == "https"}, nil
}

// rewrite applies the first matching rule, in the order of the patterns.
func rewrite(repo string, rules map[string]string) (string, error) {
	patterns := make([]string, 0, len(rules))
	for p := range rules {
		patterns = append(patterns, p)
	}
	slices.Sort(patterns)
	for _, p := range patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return "", fmt.Errorf("registries file: bad rewrite %q: %w", p, err)
		}
		if re.MatchString(repo) {
			return re.ReplaceAllString(repo, rules[p]), nil
		}
	}
	return repo, nil
}

// auths of this host in registries.yaml.
func (c hostConfig) auths() []Auth {
	if c.Auth == nil {
		return nil
	}
	a := Auth{Username: c.Auth.Username, Password: c.Auth.Password, Token: c.Auth.Token, IdentityToken: c.Auth.IdentityToken}
	if c.Auth.Auth != "" {
		if raw, err := base64.StdEncoding.DecodeString(c.Auth.Auth); err == nil {
			a.Username, a.Password, _ = strings.Cut(string(raw), ":")
		}
	}
	return []Auth{a}
}

func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
