package authn

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
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

	mu    sync.RWMutex
	known map[[sha256.Size]byte]pki.VerifiedToken
}

// rememberedTokens bounds the memory; beyond it all is forgotten and verified again.
const rememberedTokens = 4096

// NewServiceAccounts reads accounts, pods, secrets and nodes from the snapshots of a store.
func NewServiceAccounts(v TokenVerifier, c *api.Catalogue, snapshot func() *store.Snapshot, now func() time.Time) *ServiceAccounts {
	return &ServiceAccounts{verifier: v, catalogue: c, snapshot: snapshot, now: now, known: map[[sha256.Size]byte]pki.VerifiedToken{}}
}

// Authenticate looks at the bearer token.
func (s *ServiceAccounts) Authenticate(r *http.Request) (user.Info, error) {
	token := Bearer(r)
	if token == "" {
		return nil, nil
	}
	u, _, err := s.Check(token, nil)
	return u, err
}

// Check says whose a token is and for which of the audiences (nil: the API server's own) it is good.
func (s *ServiceAccounts) Check(token string, audiences []string) (user.Info, pki.VerifiedToken, error) {
	v, err := s.verify(token, audiences)
	if err != nil {
		return nil, v, err
	}
	if err := s.alive(&v); err != nil {
		return nil, v, err
	}
	return userOf(&v), v, nil
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
func (s *ServiceAccounts) alive(v *pki.VerifiedToken) error {
	snap := s.snapshot()
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

// Review is Check for a TokenReview: it also returns for which of the audiences the token is good.
func (s *ServiceAccounts) Review(token string, audiences []string) (user.Info, []string, error) {
	u, v, err := s.Check(token, audiences)
	if err != nil || len(audiences) == 0 {
		return u, v.Audiences, err
	}
	var good []string
	for _, a := range audiences {
		if slices.Contains(v.Audiences, a) {
			good = append(good, a)
		}
	}
	return u, good, nil
}
