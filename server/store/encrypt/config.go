package encrypt

import (
	"encoding/base64"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	configv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"sigs.k8s.io/yaml"
)

const (
	configAPIVersion = "apiserver.config.k8s.io/v1"
	configKind       = "EncryptionConfiguration"
	maxConfig        = 1 << 20
)

// Parse reads an EncryptionConfiguration in YAML or JSON. Providers are aesgcm, secretbox, aescbc, kms (v2) and identity.
// Plugins are not asked for anything yet.
func Parse(data []byte) (*Transformer, error) {
	config, err := decode(data)
	if err != nil {
		return nil, err
	}
	return build(config)
}

func decode(data []byte) (*configv1.EncryptionConfiguration, error) {
	config := &configv1.EncryptionConfiguration{}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("read EncryptionConfiguration: it has %d bytes, the limit is %d", len(data), maxConfig)
	}
	if err := yaml.UnmarshalStrict(data, config); err != nil {
		return nil, fmt.Errorf("read EncryptionConfiguration: %w", err)
	}
	if config.APIVersion != configAPIVersion || config.Kind != configKind {
		return nil, fmt.Errorf("read EncryptionConfiguration: expected apiVersion %s and kind %s, got %q and %q", configAPIVersion, configKind, config.APIVersion, config.Kind)
	}
	for i := range config.Resources {
		for j := range config.Resources[i].Providers {
			if k := config.Resources[i].Providers[j].KMS; k != nil {
				configv1.SetDefaults_KMSConfiguration(k)
			}
		}
	}
	internal := &apiserver.EncryptionConfiguration{}
	if err := configv1.Convert_v1_EncryptionConfiguration_To_apiserver_EncryptionConfiguration(config, internal, nil); err != nil {
		return nil, fmt.Errorf("read EncryptionConfiguration: %w", err)
	}
	if errs := validation.ValidateEncryptionConfiguration(internal, false); len(errs) > 0 {
		for _, e := range errs {
			e.BadValue = field.OmitValueType{} // it may be a key
		}
		return nil, fmt.Errorf("EncryptionConfiguration: %w", errs.ToAggregate())
	}
	return config, nil
}

func build(config *configv1.EncryptionConfiguration) (*Transformer, error) {
	t := &Transformer{}
	for i := range config.Resources {
		var r rule
		for _, name := range config.Resources[i].Resources {
			r.resources = append(r.resources, schema.ParseGroupResource(name))
		}
		for j := range config.Resources[i].Providers {
			providers, err := buildProvider(&config.Resources[i].Providers[j])
			if err != nil {
				return nil, fmt.Errorf("EncryptionConfiguration: resources[%d].providers[%d]: %w", i, j, err)
			}
			r.providers = append(r.providers, providers...)
			for _, p := range providers {
				if plugin, ok := p.box.(plugin); ok {
					t.plugins = append(t.plugins, plugin.Provider)
				}
			}
		}
		t.rules = append(t.rules, r)
	}
	return t, nil
}

func buildProvider(p *configv1.ProviderConfiguration) ([]provider, error) {
	switch {
	case p.AESGCM != nil:
		return keys("aesgcm", p.AESGCM.Keys, newGCM)
	case p.AESCBC != nil:
		return keys("aescbc", p.AESCBC.Keys, newCBC)
	case p.Secretbox != nil:
		return keys("secretbox", p.Secretbox.Keys, newNaCl)
	case p.Identity != nil:
		return []provider{identity}, nil
	}
	return kmsProvider(p.KMS)
}

func keys(name string, list []configv1.Key, newBox func([]byte) (box, error)) (out []provider, err error) {
	for _, k := range list {
		secret, err := base64.StdEncoding.DecodeString(k.Secret)
		if err != nil {
			return nil, fmt.Errorf("key %q: secrets must be base64 encoded", k.Name)
		}
		b, err := newBox(secret)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", k.Name, err)
		}
		out = append(out, provider{prefix: magic + name + ":v1:" + k.Name + ":", box: b})
	}
	return out, nil
}
