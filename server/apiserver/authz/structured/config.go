package structured

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/load"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
)

// The types of authorizers.
const (
	typeWebhook     = "Webhook"
	typeAlwaysAllow = "AlwaysAllow"
	typeAlwaysDeny  = "AlwaysDeny"
)

// Flags are the --authorization-* flags, for one webhook at most.
type Flags struct {
	// Modes in order; by default Node and RBAC.
	Modes []string
	// WebhookFile is a kubeconfig; WebhookVersion of the SubjectAccessReviews is v1 or v1beta1.
	WebhookFile, WebhookVersion string
	// AuthorizedTTL and UnauthorizedTTL are how long the webhook's answers are kept; 0: not at all.
	AuthorizedTTL, UnauthorizedTTL time.Duration
}

// Defaults of the flags.
var Defaults = Flags{Modes: []string{"Node", "RBAC"}, WebhookVersion: "v1beta1", AuthorizedTTL: 5 * time.Minute, UnauthorizedTTL: 30 * time.Second}

// changed says whether a flag is not as by default.
func (f *Flags) changed() bool {
	return !slices.Equal(f.Modes, Defaults.Modes) || f.WebhookFile != "" || f.WebhookVersion != Defaults.WebhookVersion ||
		f.AuthorizedTTL != Defaults.AuthorizedTTL || f.UnauthorizedTTL != Defaults.UnauthorizedTTL
}

// configuration is what the flags say, in the form of the file.
func (f *Flags) configuration(builtIn []string) (*apiserver.AuthorizationConfiguration, error) {
	if len(f.Modes) == 0 {
		return nil, errors.New("--authorization-mode: at least one mode is needed")
	}
	if f.WebhookFile != "" && !slices.Contains(f.Modes, typeWebhook) {
		return nil, errors.New("--authorization-webhook-config-file needs the mode Webhook in --authorization-mode")
	}
	config := &apiserver.AuthorizationConfiguration{}
	for i, mode := range f.Modes {
		if slices.Contains(f.Modes[:i], mode) {
			return nil, fmt.Errorf("--authorization-mode: %s is named twice", mode)
		}
		one := apiserver.AuthorizerConfiguration{Type: apiserver.AuthorizerType(mode), Name: strings.ToLower(mode)}
		switch {
		case mode == "ABAC":
			return nil, errors.New("--authorization-mode: ABAC is not there; write its policy as RBAC roles")
		case mode == typeWebhook:
			if f.WebhookFile == "" {
				return nil, errors.New("--authorization-mode Webhook needs --authorization-webhook-config-file")
			}
			one.Name, one.Webhook = "default", f.webhook()
		case !slices.Contains(builtIn, mode):
			return nil, fmt.Errorf("--authorization-mode: %q is not a valid mode; known are %v", mode, append(slices.Clone(builtIn), typeWebhook))
		}
		config.Authorizers = append(config.Authorizers, one)
	}
	return config, nil
}

func (f *Flags) webhook() *apiserver.WebhookConfiguration {
	return &apiserver.WebhookConfiguration{
		AuthorizedTTL: metav1.Duration{Duration: f.AuthorizedTTL}, CacheAuthorizedRequests: f.AuthorizedTTL != 0,
		UnauthorizedTTL: metav1.Duration{Duration: f.UnauthorizedTTL}, CacheUnauthorizedRequests: f.UnauthorizedTTL != 0,
		Timeout: metav1.Duration{Duration: 30 * time.Second}, FailurePolicy: apiserver.FailurePolicyNoOpinion,
		SubjectAccessReviewVersion: f.WebhookVersion,
		ConnectionInfo:             apiserver.WebhookConnectionInfo{Type: apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile, KubeConfigFile: &f.WebhookFile},
	}
}

// parse reads a file. required are types that must be in it.
func parse(data []byte, compiler authorizationcel.Compiler, builtIn, required []string) (*apiserver.AuthorizationConfiguration, error) {
	if len(data) == 0 {
		return nil, errors.New("the file is empty")
	}
	config, err := load.LoadFromData(data)
	if err != nil {
		return nil, err
	}
	known := sets.New(builtIn...).Insert(typeWebhook)
	if errs := validation.ValidateAuthorizationConfiguration(compiler, nil, config, known, sets.New(typeWebhook)); len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	missing := sets.New(required...)
	for _, one := range config.Authorizers {
		missing.Delete(string(one.Type))
		if one.Type == typeWebhook {
			if one.Webhook.ConnectionInfo.Type != apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile {
				return nil, fmt.Errorf("authorizer %s: connectionInfo.type %s is not possible for the API server's own authorizers", one.Name, one.Webhook.ConnectionInfo.Type)
			}
		} else if want := strings.ToLower(string(one.Type)); one.Name != want {
			return nil, fmt.Errorf("expected name %s for authorizer %s instead of %s", want, one.Type, one.Name)
		}
	}
	if missing.Len() > 0 {
		return nil, fmt.Errorf("missing required types: %v", sets.List(missing))
	}
	return config, nil
}
