package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
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
}

// ErrToken is wrapped by every reason to refuse a token.
var ErrToken = errors.New("invalid bearer token")

// TokenIssuer issues and verifies service-account tokens (JWT, RFC 7519; claims as in KEP-1205).
type TokenIssuer struct {
	issuer   string
	audience string
	signer   crypto.Signer
	kid      string
	keys     map[string]crypto.PublicKey
	now      func() time.Time
}

// LoadTokenIssuer reads the signing key in dir, or makes it. audience is the default one: the API server's.
func LoadTokenIssuer(dir, issuer, audience string, now func() time.Time) (*TokenIssuer, error) {
	file := filepath.Join(dir, "service-account.key")
	signer, err := readKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		signer, err = createKey(file)
	}
	if err != nil {
		return nil, err
	}
	t := &TokenIssuer{issuer: issuer, audience: audience, signer: signer, keys: map[string]crypto.PublicKey{}, now: now}
	if t.kid, err = t.addKey(signer.Public()); err != nil {
		return nil, err
	}
	old, err := filepath.Glob(filepath.Join(dir, "service-account-*.key"))
	if err != nil {
		return nil, err
	}
	for _, file := range old {
		key, err := readKey(file)
		if err != nil {
			return nil, err
		}
		if _, err := t.addKey(key.Public()); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *TokenIssuer) addKey(pub crypto.PublicKey) (kid string, err error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	kid = base64.RawURLEncoding.EncodeToString(sum[:])
	t.keys[kid] = pub
	return kid, nil
}

// Issuer is the value of the iss claim.
func (t *TokenIssuer) Issuer() string { return t.issuer }

// Audience is the API server's own, the default of a token.
func (t *TokenIssuer) Audience() string { return t.audience }

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
		audiences = []string{t.audience}
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", time.Time{}, err
	}
	body := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    t.issuer,
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
	method, err := signingMethod(t.signer.Public())
	if err != nil {
		return "", time.Time{}, err
	}
	unsigned := jwt.NewWithClaims(method, body)
	unsigned.Header["kid"] = t.kid
	token, err = unsigned.SignedString(t.signer)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign token of %s/%s: %w", c.Namespace, c.ServiceAccount, err)
	}
	return token, body.ExpiresAt.Time, nil
}

// Verify checks signature, times, issuer and that the token is for one of the audiences (nil: the API server's own).
func (t *TokenIssuer) Verify(token string, audiences []string) (VerifiedToken, error) {
	if len(audiences) == 0 {
		audiences = []string{t.audience}
	}
	var body claims
	_, err := jwt.ParseWithClaims(token, &body, t.key,
		jwt.WithTimeFunc(t.now), jwt.WithIssuer(t.issuer), jwt.WithExpirationRequired(), jwt.WithStrictDecoding(),
		jwt.WithValidMethods([]string{"ES256", "ES384", "ES512", "RS256"}))
	if err != nil {
		return VerifiedToken{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	if !slices.ContainsFunc(body.Audience, func(a string) bool { return slices.Contains(audiences, a) }) {
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

func (t *TokenIssuer) key(token *jwt.Token) (any, error) {
	kid, _ := token.Header["kid"].(string)
	if key, ok := t.keys[kid]; ok {
		return key, nil
	}
	return nil, errors.New("signed by an unknown key")
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
