package objects

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

type tokenKey struct {
	uid      types.UID
	audience string
	seconds  int64
}

// token is kept in memory and on disk.
type token struct {
	Token           string
	Issued, Expires time.Time
}

// refresh is when 80 % of its life, at most a day, has passed.
func (t *token) refresh() time.Time {
	return t.Issued.Add(min(t.Expires.Sub(t.Issued)*8/10, 24*time.Hour))
}

// Token returns a token of the pod's service account, bound to the pod, and when to ask again.
func (c *Cache) Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (string, time.Time, error) {
	key := tokenKey{pod.UID, audience, seconds}
	c.mu.Lock()
	t := c.tokens[key]
	c.mu.Unlock()
	now := c.cfg.Now()
	if t == nil {
		t = c.loadToken(key)
	}
	if t != nil && now.Before(t.refresh()) {
		return t.Token, t.refresh(), nil
	}
	fresh, err := c.request(ctx, pod, audience, seconds)
	if err != nil {
		var status apierrors.APIStatus
		if t != nil && (!errors.As(err, &status) || now.Before(t.Expires)) {
			// An old token is better than no pod: the server refuses it if it is too old, and a new one comes soon.
			return t.Token, now.Add(10 * time.Second), nil
		}
		return "", time.Time{}, err
	}
	c.mu.Lock()
	c.tokens[key] = fresh
	c.mu.Unlock()
	if c.cfg.Dir != "" {
		if err := writeJSON(c.tokenPath(key), fresh); err != nil {
			c.cfg.Log.Warn("cannot keep a copy of a token", "pod", pod.Namespace+"/"+pod.Name, "err", err)
		}
	}
	return fresh.Token, fresh.refresh(), nil
}

func (c *Cache) request(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (*token, error) {
	if c.cfg.Client == nil {
		return nil, errors.New("no server to ask for a service account token")
	}
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		req.Spec.Audiences = []string{audience}
	}
	issued := c.cfg.Now()
	got, err := c.cfg.Client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, req, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("failed to fetch token: %w", err)
	}
	return &token{got.Status.Token, issued, got.Status.ExpirationTimestamp.Time}, nil
}

func (c *Cache) tokenPath(k tokenKey) string {
	h := sha256.Sum256([]byte(fmt.Sprintf("%s\n%d", k.audience, k.seconds)))
	return filepath.Join(c.cfg.Dir, "token", string(k.uid), hex.EncodeToString(h[:8])+".json")
}

func (c *Cache) loadToken(k tokenKey) *token {
	t := &token{}
	if c.cfg.Dir == "" || readJSON(c.tokenPath(k), t) != nil || t.Token == "" {
		return nil
	}
	return t
}

// ForgetTokens removes the copies of tokens and certificates of a pod that is gone.
func (c *Cache) ForgetTokens(uid types.UID) {
	c.forgetCertificates(uid)
	if c.cfg.Dir != "" && uid != "" {
		os.RemoveAll(filepath.Join(c.cfg.Dir, "token", string(uid)))
	}
}
