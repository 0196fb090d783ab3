package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/pflag"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation"

	"codeberg.org/skiff/skiff/internal/features"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/audit"
	"codeberg.org/skiff/skiff/server/apiserver/authn"
	"codeberg.org/skiff/skiff/server/apiserver/authn/oidc"
	"codeberg.org/skiff/skiff/server/apiserver/authz/structured"
)

// Config of a Server. Flags parse straight into it; New checks it once and never changes it afterwards.
type Config struct {
	Paths wellknown.Paths
	// NodeName of this machine, for the serving certificate.
	NodeName string
	// BindAddress and Port of the API; AdvertiseAddress is what agents and pods are told.
	BindAddress      string
	Port             int
	AdvertiseAddress string
	// TLSSANs are more names and addresses of the serving certificate.
	TLSSANs []string
	// TLS says which versions and suites are spoken, and who else signs client certificates.
	TLS TLSConfig

	ClusterCIDRs  []string
	ServiceCIDRs  []string
	ClusterDNS    string
	ClusterDomain string
	NodePortRange string

	// Token and AgentToken join servers and agents; made at random when empty.
	Token, AgentToken string
	// ServiceAccountIssuers: the first issues tokens, those of all are accepted. APIAudiences default to the first issuer.
	ServiceAccountIssuers, APIAudiences []string
	// ServiceAccountSigningKeyFile signs tokens instead of a key of our own; ServiceAccountKeyFiles verify more of them.
	ServiceAccountSigningKeyFile string
	ServiceAccountKeyFiles       []string
	// ServiceAccountJWKSURI is told in the discovery document; default: this server's.
	ServiceAccountJWKSURI string
	// ServiceAccountMaxExpiration is how long a service-account token may be good; 0: as long as is asked for.
	ServiceAccountMaxExpiration time.Duration
	// AuthenticationConfig is a file with OIDC issuers; OIDC describes one by flags; TokenAuthFile holds static tokens.
	AuthenticationConfig string
	OIDC                 oidc.Flags
	TokenAuthFile        string
	// TokenWebhook is asked about tokens that nobody else knows.
	TokenWebhook authn.WebhookConfig
	// AuthorizationConfig is a file with the chain of authorizers; Authorization describes one by flags.
	AuthorizationConfig string
	Authorization       structured.Flags
	// AnonymousAuth lets requests without credentials be those of system:anonymous; AuthenticationConfig may say more about it.
	AnonymousAuth bool
	// Audit is the audit log: its policy and where it goes.
	Audit audit.Config
	// Recover starts from what is left of etcd's files when its log is damaged or missing.
	Recover bool
	// EncryptionProviderConfig is an EncryptionConfiguration of the operator's own; "": keys that the server looks after.
	EncryptionProviderConfig string
	// RequestTimeout of requests that are not streams; EventTTL is how long events are kept.
	RequestTimeout, EventTTL time.Duration
	// MaxMutatingRequestsInflight adds to MaxRequestsInflight: priority and fairness share both out together, as upstream does.
	MaxMutatingRequestsInflight int
	// MaxRequestsInflight is how many ordinary requests run at once; 0 chooses by the number of processors.
	MaxRequestsInflight int
	// Controllers are the flags of the controllers.
	Controllers Controllers
	// DisableControllers leaves only the loops without which the API itself would not work; DisableScheduler leaves pods unbound.
	DisableControllers, DisableScheduler bool
	// Features are Kubernetes' feature gates, which the agent's flags hold.
	Features features.Gates
	// RuntimeConfig turns API versions on and off: "group/version=false".
	RuntimeConfig []string
	// Admission says which plugins look at writes.
	Admission AdmissionConfig

	// Flags are the command line's, by name, for /flagz; see RedactedFlags.
	Flags func() map[string]string

	Now func() time.Time
	Log *slog.Logger

	auditFormat string
}

// AddFlags makes every field a flag.
func (c *Config) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&c.BindAddress, "bind-address", "0.0.0.0", "address that the API server listens on")
	f.IntVar(&c.Port, "https-listen-port", wellknown.APIServerPort, "port that the API server listens on")
	f.StringVar(&c.AdvertiseAddress, "advertise-address", "", "address by which agents and pods reach the API server (default: the node's)")
	f.StringSliceVar(&c.TLSSANs, "tls-san", nil, "more host names and addresses of the serving certificate")
	f.StringSliceVar(&c.ClusterCIDRs, "cluster-cidr", []string{wellknown.DefaultClusterCIDR}, "address range of pods, one a family")
	f.StringSliceVar(&c.ServiceCIDRs, "service-cidr", []string{wellknown.DefaultServiceCIDR}, "address range of Services, one a family")
	f.StringVar(&c.ClusterDNS, "cluster-dns", "", "address of the cluster DNS (default: the tenth of the Service range)")
	f.StringVar(&c.ClusterDomain, "cluster-domain", wellknown.DefaultClusterDomain, "DNS domain of the cluster")
	f.StringVar(&c.NodePortRange, "service-node-port-range", wellknown.DefaultNodePortRange, "ports for NodePort Services")
	f.StringVar(&c.Token, "token", "", "secret that joins servers and agents (default: made at random)")
	f.StringVar(&c.AgentToken, "agent-token", "", "secret that joins agents only (default: made at random)")
	c.TLS.addFlags(f)
	c.addAuthenticationFlags(f)
	c.addAuditFlags(f)
	f.StringVar(&c.EncryptionProviderConfig, "encryption-provider-config", "", "file with an EncryptionConfiguration (aesgcm, secretbox, aescbc, kms, identity) for what etcd holds (default: Secrets, with keys that skiff makes, see skiff secrets-encrypt)")
	f.BoolVar(&c.Recover, "recover", false, "go on from etcd's database when its log is damaged or missing, for one start; what was written since the database's last commit is lost, and what was there is kept beside it")
	c.Admission.addFlags(f)
	f.StringSliceVar(&c.RuntimeConfig, "runtime-config", nil, "API versions that are served or not: group/version=true or false, group/version/resource=…, api/beta=false; what cannot be so is an error")
	f.BoolVar(&c.DisableControllers, "disable-controller-manager", false, "run no controllers but those that belong to the API server (for tests of clients, and clusters that bring their own)")
	f.BoolVar(&c.DisableScheduler, "disable-scheduler", false, "run no scheduler")
	f.IntVar(&c.MaxRequestsInflight, "max-requests-inflight", 0, "how many ordinary API requests run at once, shared out by priority and fairness (default: 32 a processor, from 64 to 600)")
	f.IntVar(&c.MaxMutatingRequestsInflight, "max-mutating-requests-inflight", 0, "added to --max-requests-inflight: both are shared out together")
	f.DurationVar(&c.RequestTimeout, "request-timeout", time.Minute, "after which a request that is no stream is ended (0: a minute)")
	f.DurationVar(&c.EventTTL, "event-ttl", api.EventTTL, "how long events are kept (0: an hour)")
	c.Controllers.addFlags(f)
}

func (c *Config) addAuthenticationFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&c.ServiceAccountIssuers, "service-account-issuer", []string{wellknown.ServiceAccountIssuer}, "issuer of service-account tokens; more of them name issuers whose tokens are still accepted")
	f.StringSliceVar(&c.APIAudiences, "api-audiences", nil, "audiences of this API server (default: the first service-account issuer)")
	f.StringVar(&c.ServiceAccountSigningKeyFile, "service-account-signing-key-file", "", "private key that signs service-account tokens (default: one that skiff makes)")
	f.StringArrayVar(&c.ServiceAccountKeyFiles, "service-account-key-file", nil, "file with more keys that verify service-account tokens")
	f.DurationVar(&c.ServiceAccountMaxExpiration, "service-account-max-token-expiration", 0, "longest time that a service-account token is made for; 0: as asked for")
	f.StringVar(&c.ServiceAccountJWKSURI, "service-account-jwks-uri", "", "URL of the keys in the discovery document of the issuer (default: this server's)")
	f.StringVar(&c.AuthenticationConfig, "authentication-config", "", "file with an AuthenticationConfiguration: OIDC issuers, claim mappings, CEL rules")
	f.BoolVar(&c.AnonymousAuth, "anonymous-auth", true, "requests without credentials are those of the user system:anonymous, who gets what roles give to the group system:unauthenticated; otherwise they are refused")
	f.StringVar(&c.TokenAuthFile, "token-auth-file", "", "CSV file with static tokens: token,user,uid,\"group,…\"")
	f.StringVar(&c.TokenWebhook.File, "authentication-token-webhook-config-file", "", "kubeconfig of a service that is asked about bearer tokens (TokenReview)")
	f.StringVar(&c.TokenWebhook.Version, "authentication-token-webhook-version", "v1beta1", "version of authentication.k8s.io that it speaks: v1 or v1beta1")
	f.DurationVar(&c.TokenWebhook.TTL, "authentication-token-webhook-cache-ttl", 2*time.Minute, "how long its answers are kept")
	z, d := &c.Authorization, structured.Defaults
	f.StringVar(&c.AuthorizationConfig, "authorization-config", "", "file with an AuthorizationConfiguration: the chain of authorizers, with webhooks and their CEL conditions; it is followed as it changes")
	f.StringSliceVar(&z.Modes, "authorization-mode", d.Modes, "authorizers in order: Node, RBAC, Webhook, AlwaysAllow, AlwaysDeny")
	f.StringVar(&z.WebhookFile, "authorization-webhook-config-file", "", "kubeconfig of the service that the mode Webhook asks (SubjectAccessReview)")
	f.StringVar(&z.WebhookVersion, "authorization-webhook-version", d.WebhookVersion, "version of authorization.k8s.io that it speaks: v1 or v1beta1")
	f.DurationVar(&z.AuthorizedTTL, "authorization-webhook-cache-authorized-ttl", d.AuthorizedTTL, "how long its consent is kept")
	f.DurationVar(&z.UnauthorizedTTL, "authorization-webhook-cache-unauthorized-ttl", d.UnauthorizedTTL, "how long its refusal is kept")
	o := &c.OIDC
	f.StringVar(&o.IssuerURL, "oidc-issuer-url", "", "https URL of an OpenID Connect provider")
	f.StringVar(&o.ClientID, "oidc-client-id", "", "audience that its tokens must have")
	f.StringVar(&o.CAFile, "oidc-ca-file", "", "certificate authority of the provider (default: the host's)")
	f.StringVar(&o.UsernameClaim, "oidc-username-claim", "sub", "claim that is the user's name")
	f.StringVar(&o.UsernamePrefix, "oidc-username-prefix", "", "put before user names; - for none (default: the issuer and #, unless the claim is email)")
	f.StringVar(&o.GroupsClaim, "oidc-groups-claim", "", "claim that holds the user's groups")
	f.StringVar(&o.GroupsPrefix, "oidc-groups-prefix", "", "put before groups")
	f.StringToStringVar(&o.RequiredClaims, "oidc-required-claim", nil, "claim=value that a token must have")
	f.StringSliceVar(&o.SigningAlgs, "oidc-signing-algs", []string{"RS256"}, "algorithms that tokens may be signed with")
}

func (c *Config) addAuditFlags(f *pflag.FlagSet) {
	a := &c.Audit
	f.StringVar(&a.PolicyFile, "audit-policy-file", "", "file with an audit Policy (audit.k8s.io/v1): which requests are written down, and how much of them")
	f.StringVar(&a.LogPath, "audit-log-path", "", "file that audit events are written to; - is standard output (default: none)")
	f.StringVar(&a.LogMode, "audit-log-mode", audit.ModeBatch, "batch: events wait in memory and are dropped and counted when that is full; blocking: requests wait for the disk; blocking-strict: and fail with it")
	f.IntVar(&a.MaxSize, "audit-log-maxsize", 100, "megabytes after which the audit log is rotated")
	f.IntVar(&a.MaxAge, "audit-log-maxage", 0, "days for which old audit logs are kept (0: for ever)")
	f.IntVar(&a.MaxBackups, "audit-log-maxbackup", 0, "how many old audit logs are kept (0: all)")
	f.IntVar(&a.BufferBytes, "audit-buffer-bytes", 16<<20, "bytes of events that may wait for the log, and for the webhook")
	f.StringVar(&a.WebhookFile, "audit-webhook-config-file", "", "kubeconfig of a webhook that audit events are sent to")
	f.StringVar(&a.WebhookMode, "audit-webhook-mode", audit.ModeBatch, "batch or blocking")
	f.StringVar(&c.auditFormat, "audit-log-format", "json", "json")
}

// RedactedFlags are the values of all flags, without the secrets among them.
func RedactedFlags(f *pflag.FlagSet) map[string]string {
	all := map[string]string{}
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Hidden { // it is no flag but the reason why there is none
			return
		}
		all[flag.Name] = flag.Value.String()
		secret := flag.Name == "token" || strings.HasSuffix(flag.Name, "-token") || strings.Contains(flag.Name, "password") || strings.Contains(flag.Name, "secret")
		if secret && all[flag.Name] != "" {
			all[flag.Name] = "CLASSIFIED"
		}
	})
	return all
}

// network is what the address flags mean.
type network struct {
	cluster, service []netip.Prefix
	dns              netip.Addr
	apiService       netip.Addr
	ports            utilnet.PortRange
}

func (c *Config) validate() (network, error) {
	var n network
	var err error
	if n.cluster, err = prefixes("cluster-cidr", c.ClusterCIDRs); err != nil {
		return n, err
	}
	if n.service, err = prefixes("service-cidr", c.ServiceCIDRs); err != nil {
		return n, err
	}
	for _, a := range n.cluster {
		for _, b := range n.service {
			if a.Overlaps(b) {
				return n, fmt.Errorf("--cluster-cidr %s and --service-cidr %s overlap", a, b)
			}
		}
	}
	n.apiService = nth(n.service[0], 1)
	n.dns = nth(n.service[0], 10)
	if c.ClusterDNS != "" {
		if n.dns, err = netip.ParseAddr(c.ClusterDNS); err != nil {
			return n, fmt.Errorf("--cluster-dns: %w", err)
		}
	}
	if errs := validation.IsDNS1123Subdomain(c.ClusterDomain); c.ClusterDomain != "" && len(errs) > 0 {
		return n, fmt.Errorf("--cluster-domain %q: %s", c.ClusterDomain, strings.Join(errs, "; "))
	}
	for _, name := range c.TLSSANs {
		if err := checkSAN(name); err != nil {
			return n, err
		}
	}
	if err := n.ports.Set(c.NodePortRange); err != nil {
		return n, fmt.Errorf("--service-node-port-range: %w", err)
	}
	if err := c.TLS.validate(); err != nil {
		return n, err
	}
	if c.NodeName == "" || c.AdvertiseAddress == "" {
		return n, errors.New("server: NodeName and AdvertiseAddress are required")
	}
	if _, err := netip.ParseAddr(c.AdvertiseAddress); err != nil {
		return n, fmt.Errorf("--advertise-address: %w", err)
	}
	if err := c.validateLimits(); err != nil {
		return n, err
	}
	if c.auditFormat != "" && c.auditFormat != "json" {
		return n, fmt.Errorf("--audit-log-format: %q is not json", c.auditFormat)
	}
	if len(c.ServiceAccountIssuers) == 0 {
		c.ServiceAccountIssuers = []string{wellknown.ServiceAccountIssuer}
	}
	if err := c.Controllers.validate(); err != nil {
		return n, err
	}
	if c.Port < 1 || c.Port > 65535 {
		return n, fmt.Errorf("--https-listen-port: %d is no port", c.Port)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return n, nil
}

func (c *Config) validateLimits() error {
	if c.MaxRequestsInflight < 0 || c.MaxMutatingRequestsInflight < 0 {
		return fmt.Errorf("--max-requests-inflight: %d, --max-mutating-requests-inflight: %d: one is negative", c.MaxRequestsInflight, c.MaxMutatingRequestsInflight)
	}
	if longest := c.ServiceAccountMaxExpiration; longest != 0 && (longest < time.Hour || longest > 1<<32*time.Second) {
		return errors.New("--service-account-max-token-expiration must be between 1 hour and 2^32 seconds")
	}
	if c.RequestTimeout < 0 || c.EventTTL < 0 {
		return fmt.Errorf("--request-timeout: %v, --event-ttl: %v: one is negative", c.RequestTimeout, c.EventTTL)
	}
	return nil
}

// checkSAN refuses what no client could ask for: neither an address nor a host name, which may begin with "*.".
func checkSAN(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	host := strings.ToLower(strings.TrimPrefix(strings.TrimSuffix(name, "."), "*."))
	if errs := validation.IsDNS1123Subdomain(strings.ReplaceAll(host, "_", "-")); len(errs) > 0 {
		return fmt.Errorf("--tls-san %q is neither an address nor a host name", name)
	}
	return nil
}

func prefixes(flag string, list []string) ([]netip.Prefix, error) {
	if len(list) == 0 || len(list) > 2 {
		return nil, fmt.Errorf("--%s: expected one range a family, got %q", flag, list)
	}
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		if p != p.Masked() {
			return nil, fmt.Errorf("--%s: %s is an address in %s, not a range", flag, p, p.Masked())
		}
		if len(out) == 1 && out[0].Addr().Is4() == p.Addr().Is4() {
			return nil, fmt.Errorf("--%s: %q are of one family", flag, list)
		}
		out = append(out, p)
	}
	return out, nil
}

// nth returns the n-th address of a range.
func nth(p netip.Prefix, n int) netip.Addr {
	addr := p.Addr()
	for range n {
		addr = addr.Next()
	}
	return addr
}
