package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ServiceAccountPrefix begins the user name of every service account.
const ServiceAccountPrefix = "system:serviceaccount:"

// TokenClaims is what a service-account token says.
type TokenClaims struct {
	Namespace, ServiceAccount, UID string
	Audiences                      []string
	// Expires after this time; Issued defaults to now.
	Expires time.Time
	// Bound object: its deletion ends the token. Kind is Pod, Secret or Node, or "" for none.
	BoundKind, BoundName, BoundUID string
	// The node of a pod-bound token.
	NodeName, NodeUID string
}

// VerifiedToken is a token whose signature, times, issuer and audience are good. Whether its service account and bound
// object still exist is the caller's to check.
type VerifiedToken struct {
	TokenClaims
	ID     string
	Issued time.Time
	// Legacy tokens live in the Secret they are bound to and do not expire; see IssueLegacy.
	Legacy bool
}

// ErrToken is wrapped by every reason to refuse a token.
var ErrToken = errors.New("invalid bearer token")

// TokenConfig of a TokenIssuer.
type TokenConfig struct {
	// Dir holds service-account.key, which signs, and service-account-<n>.key, which signed once and still verify.
	Dir string
	// Issuers: the first is the iss claim of new tokens, tokens of all are accepted.
	Issuers []string
	// Audiences of the API server, the default of a token; none means the first issuer.
	Audiences []string
	// SigningKeyFile signs instead of the key in Dir, which then only verifies. KeyFiles hold more public (or private)
	// keys that verify. Optional.
	SigningKeyFile string
	KeyFiles       []string
	Now            func() time.Time
}

// TokenIssuer issues and verifies service-account tokens (JWT, RFC 7519; claims as in KEP-1205). Safe for concurrent use.
type TokenIssuer struct {
	cfg  TokenConfig
	now  func() time.Time
	mu   sync.Mutex // held while keys are read anew
	keys atomic.Pointer[tokenKeys]
}

// tokenKeys are the keys in force. Immutable.
type tokenKeys struct {
	signer crypto.Signer
	kid    string
	public map[string]crypto.PublicKey
}

// LoadTokenIssuer reads the signing key in dir, or makes it. audience is the default one: the API server's.
func LoadTokenIssuer(dir, issuer, audience string, now func() time.Time) (*TokenIssuer, error) {
	return NewTokenIssuer(TokenConfig{Dir: dir, Issuers: []string{issuer}, Audiences: []string{audience}, Now: now})
}

// NewTokenIssuer reads the keys, or makes the first.
func NewTokenIssuer(cfg TokenConfig) (*TokenIssuer, error) {
	if len(cfg.Issuers) == 0 {
		return nil, errors.New("service-account tokens need an issuer")
	}
	if len(cfg.Audiences) == 0 {
		cfg.Audiences = cfg.Issuers[:1]
	}
	t := &TokenIssuer{cfg: cfg, now: cfg.Now}
	return t, t.load()
}

// KeyFile is the key that signs unless SigningKeyFile does.
func (c *TokenConfig) KeyFile() string { return filepath.Join(c.Dir, "service-account.key") }

func (t *TokenIssuer) load() error {
	signer, err := readKey(t.cfg.KeyFile())
	if errors.Is(err, fs.ErrNotExist) {
		signer, err = createKey(t.cfg.KeyFile())
	}
	if err != nil {
		return err
	}
	k := &tokenKeys{signer: signer, public: map[string]crypto.PublicKey{}}
	if k.kid, err = k.add(signer.Public()); err != nil {
		return err
	}
	if t.cfg.SigningKeyFile != "" {
		if k.signer, err = readKey(t.cfg.SigningKeyFile); err != nil {
			return err
		}
		if k.kid, err = k.add(k.signer.Public()); err != nil {
			return err
		}
	}
	old, err := filepath.Glob(filepath.Join(t.cfg.Dir, "service-account-*.key"))
	if err != nil {
		return err
	}
	for _, file := range append(old, t.cfg.KeyFiles...) {
		keys, err := readPublicKeys(file)
		if err != nil {
			return err
		}
		for _, pub := range keys {
			if _, err := k.add(pub); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	t.keys.Store(k)
	return nil
}

func (k *tokenKeys) add(pub crypto.PublicKey) (kid string, err error) {
	if _, err := signingMethod(pub); err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	kid = base64.RawURLEncoding.EncodeToString(sum[:])
	k.public[kid] = pub
	return kid, nil
}

// Rotate makes a new signing key. The old one goes on verifying, until its file, service-account-<n>.key, is removed and
// the server restarted: when the last token that it signed has expired. Being cut off leaves the old key, or the new one.
func (t *TokenIssuer) Rotate() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cfg.SigningKeyFile != "" {
		return fmt.Errorf("the signing key is %s, which is yours to change", t.cfg.SigningKeyFile)
	}
	current, err := os.ReadFile(t.cfg.KeyFile())
	if err != nil {
		return err
	}
	old := ""
	for n := 1; ; n++ {
		old = filepath.Join(t.cfg.Dir, fmt.Sprintf("service-account-%d.key", n))
		if _, err := os.Stat(old); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err := WriteFile(old, current, 0o600); err != nil {
		return err
	}
	if _, err := createKey(t.cfg.KeyFile()); err != nil {
		return err
	}
	return t.load()
}

// Issuer is the value of the iss claim.
func (t *TokenIssuer) Issuer() string { return t.cfg.Issuers[0] }

// Audiences are the API server's own, the default of a token.
func (t *TokenIssuer) Audiences() []string { return t.cfg.Audiences }

type reference struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

type kubernetesClaims struct {
	Namespace      string     `json:"namespace"`
	ServiceAccount reference  `json:"serviceaccount"`
	Pod            *reference `json:"pod,omitempty"`
	Secret         *reference `json:"secret,omitempty"`
	Node           *reference `json:"node,omitempty"`
}

type claims struct {
	jwt.RegisteredClaims
	Kubernetes kubernetesClaims `json:"kubernetes.io"`
}

// Issue signs a token and returns it with the time it expires.
func (t *TokenIssuer) Issue(c TokenClaims) (token string, expires time.Time, err error) {
	now := t.now()
	audiences := c.Audiences
	if len(audiences) == 0 {
		audiences = t.cfg.Audiences
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", time.Time{}, err
	}
	body := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    t.Issuer(),
			Subject:   ServiceAccountPrefix + c.Namespace + ":" + c.ServiceAccount,
			Audience:  audiences,
			IssuedAt:  jwt.NewNumericDate(now),
			NotBefore: jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(c.Expires),
			ID:        formatUUID(id),
		},
		Kubernetes: kubernetesClaims{Namespace: c.Namespace, ServiceAccount: reference{c.ServiceAccount, c.UID}},
	}
	switch bound := &(reference{c.BoundName, c.BoundUID}); c.BoundKind {
	case "":
	case "Pod":
		body.Kubernetes.Pod = bound
		if c.NodeName != "" {
			body.Kubernetes.Node = &reference{c.NodeName, c.NodeUID}
		}
	case "Secret":
		body.Kubernetes.Secret = bound
	case "Node":
		body.Kubernetes.Node = bound
	default:
		return "", time.Time{}, fmt.Errorf("a token cannot be bound to a %s", c.BoundKind)
	}
	if token, err = t.sign(body); err != nil {
		return "", time.Time{}, fmt.Errorf("sign token of %s/%s: %w", c.Namespace, c.ServiceAccount, err)
	}
	return token, body.ExpiresAt.Time, nil
}

func (t *TokenIssuer) sign(body jwt.Claims) (string, error) {
	k := t.keys.Load()
	method, err := signingMethod(k.signer.Public())
	if err != nil {
		return "", err
	}
	unsigned := jwt.NewWithClaims(method, body)
	unsigned.Header["kid"] = k.kid
	return unsigned.SignedString(k.signer)
}

// legacyIssuer is the iss claim of tokens that live in Secrets.
const legacyIssuer = "kubernetes/serviceaccount"

type legacyClaims struct {
	jwt.RegisteredClaims
	Namespace  string `json:"kubernetes.io/serviceaccount/namespace"`
	SecretName string `json:"kubernetes.io/serviceaccount/secret.name"`
	Account    string `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID        string `json:"kubernetes.io/serviceaccount/service-account.uid"`
}

// IssueLegacy signs the token of a Secret of type kubernetes.io/service-account-token. It is good as long as the Secret is.
func (t *TokenIssuer) IssueLegacy(namespace, account, uid, secret string) (string, error) {
	token, err := t.sign(legacyClaims{
		RegisteredClaims: jwt.RegisteredClaims{Issuer: legacyIssuer, Subject: ServiceAccountPrefix + namespace + ":" + account},
		Namespace:        namespace, SecretName: secret, Account: account, UID: uid,
	})
	if err != nil {
		return "", fmt.Errorf("sign the token of secret %s/%s: %w", namespace, secret, err)
	}
	return token, nil
}

// verifyLegacy checks the signature of a token of IssueLegacy. It is for the API server's own audiences.
func (t *TokenIssuer) verifyLegacy(token string, audiences []string) (VerifiedToken, error) {
	var body legacyClaims
	if _, err := jwt.ParseWithClaims(token, &body, t.key, jwt.WithTimeFunc(t.now), jwt.WithIssuer(legacyIssuer), jwt.WithStrictDecoding(), methods); err != nil {
		return VerifiedToken{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if !overlap(t.cfg.Audiences, audiences) {
		return VerifiedToken{}, fmt.Errorf("%w: a token in a secret is for %q only, not for %q", ErrToken, t.cfg.Audiences, audiences)
	}
	if body.Namespace == "" || body.Account == "" || body.SecretName == "" || body.UID == "" || body.Subject != ServiceAccountPrefix+body.Namespace+":"+body.Account {
		return VerifiedToken{}, fmt.Errorf("%w: subject %q is not the service account it names", ErrToken, body.Subject)
	}
	return VerifiedToken{TokenClaims: TokenClaims{
		Namespace: body.Namespace, ServiceAccount: body.Account, UID: body.UID, Audiences: t.cfg.Audiences,
		Expires: t.now().Add(time.Hour), BoundKind: "Secret", BoundName: body.SecretName,
	}, Legacy: true}, nil
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}

var methods = jwt.WithValidMethods([]string{"ES256", "ES384", "ES512", "RS256"})

// maxToken bounds what is parsed: a token with its claims has about a kilobyte.
const maxToken = 64 << 10

// Verify checks signature, times, issuer and that the token is for one of the audiences (nil: the API server's own).
func (t *TokenIssuer) Verify(token string, audiences []string) (VerifiedToken, error) {
	if len(audiences) == 0 {
		audiences = t.cfg.Audiences
	}
	if len(token) > maxToken {
		return VerifiedToken{}, fmt.Errorf("%w: it has %d bytes", ErrToken, len(token))
	}
	switch issuer := IssuerOf(token); {
	case issuer == legacyIssuer:
		return t.verifyLegacy(token, audiences)
	case !slices.Contains(t.cfg.Issuers, issuer):
		return VerifiedToken{}, fmt.Errorf("%w: %w", ErrToken, ErrForeignToken)
	}
	var body claims
	_, err := jwt.ParseWithClaims(token, &body, t.key, jwt.WithTimeFunc(t.now), jwt.WithExpirationRequired(), jwt.WithStrictDecoding(), methods)
	if err != nil {
		return VerifiedToken{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if !slices.Contains(t.cfg.Issuers, body.Issuer) {
		return VerifiedToken{}, fmt.Errorf("%w: %w", ErrToken, ErrForeignToken)
	}
	if !overlap(body.Audience, audiences) {
		return VerifiedToken{}, fmt.Errorf("%w: token audiences %q are not for %q", ErrToken, body.Audience, audiences)
	}
	return verified(&body)
}

func verified(body *claims) (VerifiedToken, error) {
	k := body.Kubernetes
	v := VerifiedToken{
		ID: body.ID,
		TokenClaims: TokenClaims{
			Namespace: k.Namespace, ServiceAccount: k.ServiceAccount.Name, UID: k.ServiceAccount.UID,
			Audiences: body.Audience, Expires: body.ExpiresAt.Time,
		},
	}
	if body.IssuedAt != nil {
		v.Issued = body.IssuedAt.Time
	}
	if body.Subject != ServiceAccountPrefix+k.Namespace+":"+k.ServiceAccount.Name {
		return VerifiedToken{}, fmt.Errorf("%w: subject %q is not the service account it names", ErrToken, body.Subject)
	}
	switch {
	case k.Pod != nil:
		v.BoundKind, v.BoundName, v.BoundUID = "Pod", k.Pod.Name, k.Pod.UID
		if k.Node != nil {
			v.NodeName, v.NodeUID = k.Node.Name, k.Node.UID
		}
	case k.Secret != nil:
		v.BoundKind, v.BoundName, v.BoundUID = "Secret", k.Secret.Name, k.Secret.UID
	case k.Node != nil:
		v.BoundKind, v.BoundName, v.BoundUID = "Node", k.Node.Name, k.Node.UID
	}
	return v, nil
}

// ErrForeignToken: somebody else issued it, so it is not for this issuer to say whether it is good.
var ErrForeignToken = errors.New("token was issued by another issuer")

// IssuerOf reads the iss claim without believing it; "" if this is no token.
func IssuerOf(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	body, _, ok := strings.Cut(rest, ".")
	if !ok {
		return ""
	}
	data, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(data, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

// key finds the key of a token. One that names no key may be signed by any of them: tokens of other distributions do so.
func (t *TokenIssuer) key(token *jwt.Token) (any, error) {
	k := t.keys.Load()
	kid, named := token.Header["kid"].(string)
	if key, ok := k.public[kid]; ok {
		return key, nil
	}
	if named && kid != "" {
		return nil, errors.New("signed by an unknown key")
	}
	var set jwt.VerificationKeySet
	for _, key := range k.public {
		if m, err := signingMethod(key); err == nil && m.Alg() == token.Method.Alg() {
			set.Keys = append(set.Keys, key)
		}
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("signed by an unknown key")
	}
	return set, nil
}

func signingMethod(pub crypto.PublicKey) (jwt.SigningMethod, error) {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return jwt.SigningMethodES256, nil
		case 384:
			return jwt.SigningMethodES384, nil
		}
		return jwt.SigningMethodES512, nil
	case *rsa.PublicKey:
		return jwt.SigningMethodRS256, nil
	}
	return nil, fmt.Errorf("cannot sign tokens with a %T", pub)
}

func formatUUID(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4, RFC 9562
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
