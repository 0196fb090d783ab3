package oidc

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
)

// Flags are the --oidc-* flags, for one issuer.
type Flags struct {
	IssuerURL, ClientID, CAFile  string
	UsernameClaim, GroupsClaim   string
	UsernamePrefix, GroupsPrefix string
	RequiredClaims               map[string]string
	SigningAlgs                  []string
}

// Config of the issuers.
type Config struct {
	// File is an AuthenticationConfiguration. Flags must then be empty.
	File  string
	Flags Flags
	// OwnIssuers are those of service-account tokens, which no provider may have.
	OwnIssuers []string
}

// algorithms that a provider may sign with, when a file says nothing about them.
var algorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}

// maxConfig bounds the configuration file.
const maxConfig = 1 << 20

// read the configuration; no issuers are no error.
func (c *Config) read() (*apiserver.AuthenticationConfiguration, error) {
	switch {
	case c.File != "" && c.Flags.IssuerURL != "":
		return nil, errors.New("--authentication-config and --oidc-issuer-url exclude each other")
	case c.File != "":
		data, err := os.ReadFile(c.File)
		if err != nil {
			return nil, fmt.Errorf("read AuthenticationConfiguration: %w", err)
		}
		config, err := Parse(data, c.OwnIssuers)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.File, err)
		}
		return config, nil
	case c.Flags.IssuerURL != "":
		return c.Flags.read(c.OwnIssuers)
	case c.Flags.ClientID != "":
		return nil, errors.New("--oidc-client-id needs --oidc-issuer-url")
	}
	return &apiserver.AuthenticationConfiguration{}, nil
}

// AnonymousConfig is what an AuthenticationConfiguration may say of callers without credentials.
type AnonymousConfig = apiserver.AnonymousAuthConfig

// Parse reads an AuthenticationConfiguration, strictly, in any version that upstream has.
func Parse(data []byte, ownIssuers []string) (*apiserver.AuthenticationConfiguration, error) {
	if len(data) > maxConfig {
		return nil, fmt.Errorf("AuthenticationConfiguration has %d bytes, the limit is %d", len(data), maxConfig)
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	obj, err := runtime.Decode(serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(), data)
	if err != nil {
		return nil, fmt.Errorf("read AuthenticationConfiguration: %w", err)
	}
	config, ok := obj.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("expected an AuthenticationConfiguration, got %T", obj)
	}
	if errs := validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), config, ownIssuers); len(errs) > 0 {
		return nil, fmt.Errorf("AuthenticationConfiguration: %w", errs.ToAggregate())
	}
	return config, nil
}

// read makes of the flags what a file would say.
func (f *Flags) read(ownIssuers []string) (*apiserver.AuthenticationConfiguration, error) {
	if f.ClientID == "" {
		return nil, errors.New("--oidc-issuer-url needs --oidc-client-id")
	}
	for _, alg := range f.SigningAlgs {
		if !slices.Contains(algorithms, alg) {
			return nil, fmt.Errorf("--oidc-signing-algs: %q is none of %s", alg, strings.Join(algorithms, ", "))
		}
	}
	prefix := f.UsernamePrefix
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && f.UsernameClaim != "email":
		prefix = f.IssuerURL + "#" // so that users of the provider are nobody else's
	}
	jwt := apiserver.JWTAuthenticator{
		Issuer:        apiserver.Issuer{URL: f.IssuerURL, Audiences: []string{f.ClientID}},
		ClaimMappings: apiserver.ClaimMappings{Username: apiserver.PrefixedClaimOrExpression{Claim: f.UsernameClaim, Prefix: &prefix}},
	}
	if f.CAFile != "" {
		ca, err := os.ReadFile(f.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		jwt.Issuer.CertificateAuthority = string(ca)
	}
	if f.GroupsClaim != "" {
		jwt.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: f.GroupsClaim, Prefix: &f.GroupsPrefix}
	}
	for claim, value := range f.RequiredClaims {
		jwt.ClaimValidationRules = append(jwt.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: claim, RequiredValue: value})
	}
	config := &apiserver.AuthenticationConfiguration{JWT: []apiserver.JWTAuthenticator{jwt}}
	if errs := validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), config, ownIssuers); len(errs) > 0 {
		return nil, fmt.Errorf("--oidc-*: %w", errs.ToAggregate())
	}
	return config, nil
}
