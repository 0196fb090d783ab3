package credential

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	configv1 "k8s.io/kubelet/config/v1"
	"sigs.k8s.io/yaml"
)

const (
	configVersion   = "kubelet.config.k8s.io/v1"
	configKind      = "CredentialProviderConfig"
	protocolVersion = "credentialprovider.kubelet.k8s.io/v1"
)

// Open reads the configuration and checks that it can be used: what cannot is an error now, not when an image is pulled.
func Open(file, binDir string) (*Providers, error) {
	if file == "" && binDir == "" {
		return nil, nil
	}
	if file == "" || binDir == "" {
		return nil, errors.New("--image-credential-provider-config and --image-credential-provider-bin-dir belong together")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--image-credential-provider-config: %w", err)
	}
	var c configv1.CredentialProviderConfig
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return nil, fmt.Errorf("--image-credential-provider-config %s: %w", file, err)
	}
	if c.APIVersion != configVersion || c.Kind != configKind {
		return nil, fmt.Errorf("--image-credential-provider-config %s: is %s %s, and has to be %s %s", file, c.APIVersion, c.Kind, configVersion, configKind)
	}
	if len(c.Providers) == 0 {
		return nil, fmt.Errorf("--image-credential-provider-config %s: no providers", file)
	}
	p := &Providers{}
	names := map[string]bool{}
	for i := range c.Providers {
		one, err := check(&c.Providers[i], binDir)
		if err == nil && names[one.config.Name] {
			err = errors.New("the name is there twice")
		}
		if err != nil {
			return nil, fmt.Errorf("--image-credential-provider-config %s: provider %q: %w", file, c.Providers[i].Name, err)
		}
		names[one.config.Name] = true
		p.list = append(p.list, one)
	}
	return p, nil
}

func check(c *configv1.CredentialProvider, binDir string) (*provider, error) {
	switch {
	case c.Name == "" || c.Name != filepath.Base(c.Name) || strings.ContainsAny(c.Name, " \t\n") || c.Name == "." || c.Name == "..":
		return nil, errors.New("the name is that of a program in the folder of providers, without a path")
	case c.APIVersion != protocolVersion:
		return nil, fmt.Errorf("apiVersion %q is not supported; %s is", c.APIVersion, protocolVersion)
	case len(c.MatchImages) == 0:
		return nil, errors.New("matchImages is empty")
	case c.DefaultCacheDuration == nil || c.DefaultCacheDuration.Duration < 0:
		return nil, errors.New("defaultCacheDuration is needed, and not negative")
	case c.TokenAttributes != nil:
		return nil, errors.New("tokenAttributes is not supported: this node gives providers no tokens of service accounts")
	}
	for _, m := range c.MatchImages {
		if m == "" || strings.Contains(m, "://") {
			return nil, fmt.Errorf("matchImages %q: a registry, with a path if need be, and without a scheme", m)
		}
	}
	program := filepath.Join(binDir, c.Name)
	st, err := os.Stat(program)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("%s is not a program", program)
	}
	return &provider{config: c, program: program, kept: map[string]answer{}}, nil
}
