package objects

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// A pod's certificate is asked for with a PodCertificateRequest, which its signer answers. One request at a time is out for a
// projection; it runs in a goroutine of the cache, so that a pod whose certificate is only to be renewed does not wait. The key never
// leaves the node: it is kept, with the chain, beside the copies of tokens.

// certKey is one projection of a pod.
type certKey struct {
	uid    types.UID
	volume string
	index  int
}

// credential is a key with its certificates, in memory and on disk.
type credential struct {
	Key, Chain        []byte
	Refresh, NotAfter time.Time
}

// issue is a request that is out, or the end of one that was refused for good.
type issue struct {
	done chan struct{}
	err  error
	// final: the signer has said no, which holds for this pod.
	final bool
}

const (
	// issueTimeout is how long an answer is waited for before another request is made.
	issueTimeout = 10 * time.Minute
	// issuePatience is how long setting up a volume waits for its first certificate before it says that there is none yet.
	issuePatience = time.Minute
	// issueRetry is when a renewal that failed is tried again.
	issueRetry = 30 * time.Second
)

// Certificate returns the key and the certificate chain (PEM) of a podCertificate projection, and when to ask again.
func (c *Cache) Certificate(ctx context.Context, pod *corev1.Pod, volume string, index int, p *corev1.PodCertificateProjection) (key, chain []byte, refresh time.Time, err error) {
	k := certKey{pod.UID, volume, index}
	now := c.cfg.Now()
	c.mu.Lock()
	have := c.certs[k]
	if have == nil {
		if have = c.loadCertificate(k); have != nil {
			c.certs[k] = have
		}
	}
	if have != nil && now.Before(have.Refresh) {
		c.mu.Unlock()
		return have.Key, have.Chain, have.Refresh, nil
	}
	out := c.issueLocked(k, pod, p)
	c.mu.Unlock()
	if have != nil && now.Before(have.NotAfter) {
		return have.Key, have.Chain, now.Add(issueRetry), nil // its successor wakes the pod when it comes
	}
	patience := time.NewTimer(issuePatience)
	defer patience.Stop()
	select {
	case <-out.done:
	case <-patience.C:
		return nil, nil, time.Time{}, fmt.Errorf("the signer %s has not issued a certificate yet", p.SignerName)
	case <-ctx.Done():
		return nil, nil, time.Time{}, ctx.Err()
	}
	if out.err != nil {
		return nil, nil, time.Time{}, out.err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if have = c.certs[k]; have == nil {
		return nil, nil, time.Time{}, errors.New("the pod is going")
	}
	return have.Key, have.Chain, have.Refresh, nil
}

// issueLocked joins the request that is out, or makes one.
func (c *Cache) issueLocked(k certKey, pod *corev1.Pod, p *corev1.PodCertificateProjection) *issue {
	if out := c.issues[k]; out != nil {
		return out
	}
	out := &issue{done: make(chan struct{})}
	c.issues[k] = out
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		ctx, cancel := context.WithTimeout(c.ctx, issueTimeout)
		defer cancel()
		got, err := c.requestCertificate(ctx, pod, p, out)
		out.err = err
		c.mu.Lock()
		wanted := c.pods[k.uid] != nil
		if err == nil && wanted {
			c.certs[k] = got
		}
		if !out.final || !wanted {
			delete(c.issues, k)
		}
		c.mu.Unlock()
		if err == nil && wanted && c.cfg.Dir != "" {
			if err := writeJSON(c.certificatePath(k), got); err != nil {
				c.cfg.Log.Warn("cannot keep a copy of a certificate", "pod", pod.Namespace+"/"+pod.Name, "err", err)
			}
		}
		close(out.done)
		if err == nil {
			c.cfg.Changed(k.uid)
		}
	}()
	return out
}

func (c *Cache) requestCertificate(ctx context.Context, pod *corev1.Pod, p *corev1.PodCertificateProjection, out *issue) (*credential, error) {
	if c.cfg.Client == nil || c.cfg.NodeUID == nil {
		return nil, errors.New("no server to ask for a certificate")
	}
	account, err := c.cfg.Client.CoreV1().ServiceAccounts(pod.Namespace).Get(ctx, pod.Spec.ServiceAccountName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("while fetching service account: %w", err)
	}
	key, stub, err := newKey(p.KeyType)
	if err != nil {
		return nil, err
	}
	requests := c.cfg.Client.CertificatesV1().PodCertificateRequests(pod.Namespace)
	req, err := requests.Create(ctx, &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, GenerateName: "req-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}}},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: p.SignerName, PodName: pod.Name, PodUID: pod.UID, ServiceAccountName: pod.Spec.ServiceAccountName, ServiceAccountUID: account.UID,
			NodeName: types.NodeName(pod.Spec.NodeName), NodeUID: c.cfg.NodeUID(), MaxExpirationSeconds: p.MaxExpirationSeconds,
			StubPKCS10Request: stub, UnverifiedUserAnnotations: p.UserAnnotations,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("while creating PodCertificateRequest: %w", err)
	}
	opts := metav1.ListOptions{ResourceVersion: req.ResourceVersion, FieldSelector: fields.AndSelectors(
		fields.OneTermEqualSelector("spec.nodeName", pod.Spec.NodeName), fields.OneTermEqualSelector("metadata.name", req.Name)).String()}
	for {
		if got, end, err := answer(req, key); end {
			out.final = err != nil
			return got, err
		}
		if req, err = c.nextAnswer(ctx, pod.Namespace, opts, req); err != nil {
			return nil, fmt.Errorf("PodCertificateRequest %s: %w", opts.FieldSelector, err)
		}
	}
}

// nextAnswer waits for a change of a request.
func (c *Cache) nextAnswer(ctx context.Context, namespace string, opts metav1.ListOptions, last *certificatesv1.PodCertificateRequest) (*certificatesv1.PodCertificateRequest, error) {
	opts.ResourceVersion = last.ResourceVersion
	w, err := c.cfg.Client.CertificatesV1().PodCertificateRequests(namespace).Watch(ctx, opts)
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case ev, ok := <-w.ResultChan():
			switch {
			case !ok:
				return last, nil // the watch ran out: another begins where it ended
			case ev.Type == watch.Deleted:
				return nil, errors.New("it was deleted")
			case ev.Type == watch.Error:
				return nil, errors.New("its watch failed")
			}
			if r, ok := ev.Object.(*certificatesv1.PodCertificateRequest); ok && r.Name == last.Name {
				return r, nil
			}
		}
	}
}

// answer reads a request's end, if it has one.
func answer(r *certificatesv1.PodCertificateRequest, key []byte) (got *credential, end bool, err error) {
	for _, cond := range r.Status.Conditions {
		switch cond.Type {
		case certificatesv1.PodCertificateRequestConditionTypeDenied:
			return nil, true, fmt.Errorf("PodCertificateRequest was denied, reason=%q, message=%q", cond.Reason, cond.Message)
		case certificatesv1.PodCertificateRequestConditionTypeFailed:
			return nil, true, fmt.Errorf("PodCertificateRequest failed, reason=%q, message=%q", cond.Reason, cond.Message)
		case certificatesv1.PodCertificateRequestConditionTypeIssued:
			if r.Status.BeginRefreshAt == nil || r.Status.NotAfter == nil {
				return nil, true, errors.New("PodCertificateRequest was issued without saying how long the certificate lasts")
			}
			return &credential{Key: key, Chain: certificatesOf([]byte(r.Status.CertificateChain)), Refresh: r.Status.BeginRefreshAt.Time, NotAfter: r.Status.NotAfter.Time}, true, nil
		}
	}
	return nil, false, nil
}

// certificatesOf drops what stands between and before certificates.
func certificatesOf(chain []byte) []byte {
	var out bytes.Buffer
	for {
		var block *pem.Block
		if block, chain = pem.Decode(chain); block == nil {
			return out.Bytes()
		}
		_ = pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes})
	}
}

// newKey makes a key of a type of the API (PEM), and the certificate request without content that proves its possession (DER).
func newKey(kind string) (key, stub []byte, err error) {
	var signer crypto.Signer
	switch kind {
	case "RSA3072":
		signer, err = rsa.GenerateKey(rand.Reader, 3072)
	case "RSA4096":
		signer, err = rsa.GenerateKey(rand.Reader, 4096)
	case "ECDSAP256":
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSAP384":
		signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ECDSAP521":
		signer, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ED25519":
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("unknown key type %q", kind)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	if stub, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, signer); err != nil {
		return nil, nil, fmt.Errorf("make a certificate request: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), stub, nil
}

func (c *Cache) certificatePath(k certKey) string {
	h := sha256.Sum256([]byte(fmt.Sprintf("%s\n%d", k.volume, k.index)))
	return filepath.Join(c.cfg.Dir, "certificate", string(k.uid), hex.EncodeToString(h[:8])+".json")
}

func (c *Cache) loadCertificate(k certKey) *credential {
	got := &credential{}
	if c.cfg.Dir == "" || readJSON(c.certificatePath(k), got) != nil || len(got.Chain) == 0 {
		return nil
	}
	return got
}

// forgetCertificates removes the copies of a pod that is gone.
func (c *Cache) forgetCertificates(uid types.UID) {
	if c.cfg.Dir != "" && uid != "" {
		os.RemoveAll(filepath.Join(c.cfg.Dir, "certificate", string(uid)))
	}
}
