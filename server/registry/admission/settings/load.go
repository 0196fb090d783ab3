package settings

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	psapi "k8s.io/pod-security-admission/admission/api"
	"sigs.k8s.io/yaml"
)

// Settings of all plugins. The zero value is what upstream has without a file.
type Settings struct {
	// PodSecurity: what namespaces without labels get, and what is exempt; nil: everything is allowed there, nothing exempt.
	PodSecurity *psapi.PodSecurityConfiguration
	// EventRateLimits are all in force at once.
	EventRateLimits []EventLimit
	// PodNodeSelector has the node labels that pods of a namespace may ask for, as "a=b,c=d", by its name; the key
	// clusterDefaultNodeSelector has those that pods of other namespaces get.
	PodNodeSelector map[string]string
	PodTolerations  PodTolerations
	// LimitedResources may not be used without a quota that speaks of them.
	LimitedResources []LimitedResource
	// MutatingKubeconfig and ValidatingKubeconfig are files with the credentials for webhooks, by host; "": none.
	MutatingKubeconfig, ValidatingKubeconfig string
}

// PodTolerations are what pods get and may have in namespaces that say nothing about it.
type PodTolerations struct {
	Default   []corev1.Toleration `json:"default,omitempty"`
	Whitelist []corev1.Toleration `json:"whitelist,omitempty"`
}

// part is the configuration of one plugin.
type part struct {
	data []byte
	// dir is where relative paths start: the folder of the file that data come from.
	dir string
}

// plugins that take a configuration.
var plugins = map[string]func(s *Settings, p part) error{
	"EventRateLimit":             eventRateLimit,
	"MutatingAdmissionWebhook":   func(s *Settings, p part) error { return webhook(&s.MutatingKubeconfig, p) },
	"PodNodeSelector":            podNodeSelector,
	"PodSecurity":                podSecurity,
	"PodTolerationRestriction":   podTolerations,
	"ResourceQuota":              resourceQuota,
	"ValidatingAdmissionWebhook": func(s *Settings, p part) error { return webhook(&s.ValidatingKubeconfig, p) },
}

// Load reads the file; "" is the zero value.
func Load(file string) (Settings, error) {
	var s Settings
	if file == "" {
		return s, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return s, fmt.Errorf("admission configuration: %w", err)
	}
	if err := s.read(part{data, filepath.Dir(file)}); err != nil {
		return s, fmt.Errorf("admission configuration %s: %w", file, err)
	}
	return s, nil
}

func (s *Settings) read(p part) error {
	var config struct {
		metav1.TypeMeta `json:",inline"`
		Plugins         []struct {
			Name          string          `json:"name"`
			Path          string          `json:"path,omitempty"`
			Configuration json.RawMessage `json:"configuration,omitempty"`
		} `json:"plugins,omitempty"`
	}
	if err := p.decode(&config, &config.TypeMeta, "apiserver.config.k8s.io/v1 AdmissionConfiguration", "apiserver.k8s.io/v1alpha1 AdmissionConfiguration"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for i, plugin := range config.Plugins {
		read := plugins[plugin.Name]
		switch {
		case read == nil:
			return fmt.Errorf("plugins[%d]: %q is no plugin that takes a configuration; those are %v", i, plugin.Name, slices.Sorted(maps.Keys(plugins)))
		case seen[plugin.Name]:
			return fmt.Errorf("plugins[%d]: %s is configured twice", i, plugin.Name)
		}
		seen[plugin.Name] = true
		its, err := p.of(plugin.Path, plugin.Configuration)
		if err == nil && len(its.data) > 0 {
			err = read(s, its)
		}
		if err != nil {
			return fmt.Errorf("plugins[%d]: %s: %w", i, plugin.Name, err)
		}
	}
	return nil
}

// of is the configuration of a plugin: what is written into the file itself, else the file that it names.
func (p part) of(path string, embedded json.RawMessage) (part, error) {
	if len(embedded) > 0 && string(embedded) != "null" {
		return part{embedded, p.dir}, nil
	}
	if path == "" {
		return part{}, nil
	}
	path = p.absolute(path)
	data, err := os.ReadFile(path)
	return part{data, filepath.Dir(path)}, err
}

func (p part) absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.dir, path)
}

// decode fills into, which holds meta, and checks that it is of one of the kinds ("group/version Kind").
func (p part) decode(into any, meta *metav1.TypeMeta, kinds ...string) error {
	if err := yaml.UnmarshalStrict(p.data, into); err != nil {
		return err
	}
	if kind := meta.APIVersion + " " + meta.Kind; !slices.Contains(kinds, kind) {
		return fmt.Errorf("it is of kind %q; expected one of %q", kind, kinds)
	}
	return nil
}
