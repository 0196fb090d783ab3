package authn

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/pki"
	"codeberg.org/skiff/skiff/server/store"
)

// TokenVerifier checks a token's signature, times, issuer and audiences; pki.TokenIssuer is one.
type TokenVerifier interface {
	Verify(token string, audiences []string) (pki.VerifiedToken, error)
}

// ServiceAccounts authenticates service-account tokens. A signature is verified once and remembered for a while; that the
// account and the bound object still exist is looked up in the newest snapshot at each request.
type ServiceAccounts struct {
	verifier  TokenVerifier
	catalogue *api.Catalogue
	snapshot  func() *store.Snapshot
	now       func() time.Time
	// Used, when set, hears of a Secret whose token is used and that does not say so for today. It must not block.
	Used func(namespace, secret string)

	mu    sync.RWMutex
	known map[[sha256.Size]byte]pki.VerifiedToken
}

// rememberedTokens bounds the memory; beyond it all is forgotten and verified again.
const rememberedTokens = 4096

// NewServiceAccounts reads accounts, pods, secrets and nodes from the snapshots of a store.
func NewServiceAccounts(v TokenVerifier, c *api.Catalogue, snapshot func() *store.Snapshot, now func() time.Time) *ServiceAccounts {
	return &ServiceAccounts{verifier: v, catalogue: c, snapshot: snapshot, now: now, known: map[[sha256.Size]byte]pki.VerifiedToken{}}
}

// Token says whose a token is and for which of the audiences (nil: the API server's own) it is good.
func (s *ServiceAccounts) Token(_ context.Context, token string, audiences []string) (user.Info, []string, error) {
	v, err := s.verify(token, audiences)
	if errors.Is(err, pki.ErrForeignToken) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if err := s.alive(&v, token); err != nil {
		return nil, nil, err
	}
	return userOf(&v), intersect(v.Audiences, audiences), nil
}

func (s *ServiceAccounts) verify(token string, audiences []string) (pki.VerifiedToken, error) {
	if audiences != nil {
		return s.verifier.Verify(token, audiences)
	}
	sum := sha256.Sum256([]byte(token))
	s.mu.RLock()
	v, ok := s.known[sum]
	s.mu.RUnlock()
	if ok && s.now().Before(v.Expires) {
		return v, nil
	}
	v, err := s.verifier.Verify(token, nil)
	if err != nil {
		return v, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= rememberedTokens {
		clear(s.known)
	}
	s.known[sum] = v
	return v, nil
}

var errInvalidated = errors.New("service account token has been invalidated")

// alive checks the account and what the token is bound to.
func (s *ServiceAccounts) alive(v *pki.VerifiedToken, token string) error {
	snap := s.snapshot()
	if v.Legacy {
		if err := s.legacyAlive(snap, v, token); err != nil {
			return err
		}
		return s.exists(snap, "ServiceAccount", v.Namespace, v.ServiceAccount, v.UID)
	}
	if err := s.exists(snap, "ServiceAccount", v.Namespace, v.ServiceAccount, v.UID); err != nil {
		return err
	}
	if v.BoundKind == "" {
		return nil
	}
	namespace := v.Namespace
	if v.BoundKind == "Node" {
		namespace = ""
	}
	return s.exists(snap, v.BoundKind, namespace, v.BoundName, v.BoundUID)
}

// deletionLeeway: a pod that is being deleted keeps its token until this long after its grace period.
const deletionLeeway = 60 * time.Second

func (s *ServiceAccounts) exists(snap *store.Snapshot, kindName, namespace, name, uid string) error {
	kind, _ := s.catalogue.ByKind(corev1.SchemeGroupVersion.WithKind(kindName))
	if kind == nil {
		return fmt.Errorf("%w: no kind %s", errInvalidated, kindName)
	}
	obj := snap.Get(kind, namespace, name)
	if obj == nil || obj.GetUID() != types.UID(uid) {
		return fmt.Errorf("%w: %s %s/%s is gone", errInvalidated, kindName, namespace, name)
	}
	if deleted(obj.GetDeletionTimestamp(), s.now()) {
		return fmt.Errorf("%w: %s %s/%s has been deleted", errInvalidated, kindName, namespace, name)
	}
	return nil
}

func deleted(at *metav1.Time, now time.Time) bool {
	return at != nil && at.Add(deletionLeeway).Before(now)
}

func userOf(v *pki.VerifiedToken) user.Info {
	u := &user.DefaultInfo{
		Name:   pki.ServiceAccountPrefix + v.Namespace + ":" + v.ServiceAccount,
		UID:    v.UID,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + v.Namespace, wellknown.GroupAuthenticated},
	}
	extra := map[string][]string{}
	set := func(key, value string) {
		if value != "" {
			extra["authentication.kubernetes.io/"+key] = []string{value}
		}
	}
	if v.ID != "" {
		set("credential-id", "JTI="+v.ID)
	}
	switch v.BoundKind {
	case "Secret":
		if v.Legacy {
			return u
		}
	case "Pod":
		set("pod-name", v.BoundName)
		set("pod-uid", v.BoundUID)
		set("node-name", v.NodeName)
		set("node-uid", v.NodeUID)
	case "Node":
		set("node-name", v.BoundName)
		set("node-uid", v.BoundUID)
	}
	if len(extra) > 0 {
		u.Extra = extra
	}
	return u
}

// Labels of Secrets with tokens, by which those that nobody uses are found and cleaned away.
const (
	LabelLastUsed     = "kubernetes.io/legacy-token-last-used"
	LabelInvalidSince = "kubernetes.io/legacy-token-invalid-since"
)

// legacyAlive: a token in a Secret is good as long as that Secret holds exactly this token.
func (s *ServiceAccounts) legacyAlive(snap *store.Snapshot, v *pki.VerifiedToken, token string) error {
	kind := s.catalogue.ByObject(&corev1.Secret{})
	if kind == nil {
		return errInvalidated
	}
	secret, ok := snap.Get(kind, v.Namespace, v.BoundName).(*corev1.Secret)
	switch {
	case !ok:
		return fmt.Errorf("%w: secret %s/%s is gone", errInvalidated, v.Namespace, v.BoundName)
	case secret.DeletionTimestamp != nil:
		return fmt.Errorf("%w: secret %s/%s has been deleted", errInvalidated, v.Namespace, v.BoundName)
	case subtle.ConstantTimeCompare(secret.Data[corev1.ServiceAccountTokenKey], []byte(token)) != 1:
		return fmt.Errorf("%w: secret %s/%s holds another token", errInvalidated, v.Namespace, v.BoundName)
	}
	if since := secret.Labels[LabelInvalidSince]; since != "" {
		return fmt.Errorf("the token in secret %s/%s for service account %s/%s has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, "+
			"or remove the '%s' label from the secret to temporarily allow use of this token", v.Namespace, v.BoundName, v.Namespace, v.ServiceAccount, LabelInvalidSince)
	}
	if s.Used != nil && secret.Labels[LabelLastUsed] != s.now().UTC().Format(time.DateOnly) {
		s.Used(v.Namespace, v.BoundName)
	}
	return nil
}
