package join

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"codeberg.org/skiff/skiff/internal/joinapi"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/pki"
)

// Signer signs with the cluster's authority; *pki.CA is one.
type Signer interface {
	Sign(pub crypto.PublicKey, leaf pki.Leaf, now time.Time) (certPEM []byte, err error)
	PEM() []byte
	Pool() *x509.CertPool
}

// Record is what is remembered of a node.
type Record struct {
	// Hash of its password; "" for a node that has none.
	Hash string
	// Keys are hashes of the public keys of its client certificates: of the last one, and of the one by which that was asked for, because the answer may
	// have got lost.
	Keys []string
}

// Records remembers nodes. See SecretRecords.
type Records interface {
	// Get returns the record; an empty one if there is none.
	Get(ctx context.Context, node string) (Record, error)
	// Put stores the first record of a node, or replaces old. It fails if another was stored meanwhile.
	Put(ctx context.Context, node string, old, next Record) error
}

// Config of a Handler.
type Config struct {
	// CA signs the client certificates; KubeletCA the serving ones, which no client of the API accepts.
	CA, KubeletCA Signer
	// ServerSecret and AgentSecret are the secrets of the two kinds of token.
	ServerSecret, AgentSecret func() string
	Records                   Records
	// NodeExists reports whether there is a Node of this name.
	NodeExists func(name string) bool
	// Reserved names and addresses get into no node's certificate.
	Reserved *Reserved
	// Cluster is what the node is told.
	Cluster func() joinapi.Cluster
	Now     func() time.Time
	Log     *slog.Logger
}

// Handler serves joinapi.CertificatesPath.
type Handler struct{ cfg Config }

// New makes a handler.
func New(cfg Config) *Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{cfg}
}

// refusal is an answer that is the caller's fault.
type refusal struct {
	status  int
	reason  string
	message string
}

func (r *refusal) Error() string { return r.message }

func refuse(status int, reason, format string, args ...any) error {
	return &refusal{status, reason, fmt.Sprintf(format, args...)}
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	resp, node, err := h.serve(w, r)
	if err == nil {
		h.cfg.Log.Info("signed the certificates of a node", "node", node, "remote", r.RemoteAddr)
		json.NewEncoder(w).Encode(resp)
		return
	}
	var no *refusal
	if !errors.As(err, &no) {
		no = &refusal{http.StatusServiceUnavailable, "", err.Error()}
		w.Header().Set("Retry-After", "1")
	}
	h.cfg.Log.Warn("did not sign the certificates of a node", "node", node, "remote", r.RemoteAddr, "err", err)
	w.WriteHeader(no.status)
	json.NewEncoder(w).Encode(joinapi.Problem{Message: no.message, Reason: no.reason})
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) (resp *joinapi.Response, node string, err error) {
	if r.Method != http.MethodPost {
		return nil, "", refuse(http.StatusMethodNotAllowed, joinapi.ReasonInvalid, "only POST is allowed")
	}
	// Who does not even have a token or a certificate gets nothing parsed.
	own, certErr := h.owner(r)
	if certErr != nil && !h.hasToken(r) {
		return nil, "", refuse(http.StatusUnauthorized, joinapi.ReasonBadToken, "the join token is not this cluster's")
	}
	var req joinapi.Request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, joinapi.MaxBody)).Decode(&req); err != nil {
		return nil, "", refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "reading the request: %v", err)
	}
	node = req.NodeName
	next, record, err := h.admit(r, &req, own)
	if err != nil {
		return nil, node, err
	}
	resp, key, err := h.sign(&req)
	if err != nil {
		return nil, node, err
	}
	next.Keys = append([]string{keyHash(key)}, next.Keys...)
	if err := h.cfg.Records.Put(r.Context(), node, record, next); err != nil {
		return nil, node, fmt.Errorf("remembering node %s: %w", node, err)
	}
	return resp, node, nil
}

// admit refuses who may not have what he asks for. It returns what is to be remembered of the node, and what was.
func (h *Handler) admit(r *http.Request, req *joinapi.Request, own string) (next, record Record, err error) {
	node := req.NodeName
	if !req.KubeletCA {
		return next, record, refuse(http.StatusUpgradeRequired, "", "this agent is older than the server and does not know that kubelets' certificates have an authority of their own; install the server's version on it")
	}
	if err := h.checkName(node); err != nil {
		return next, record, err
	}
	record, err = h.cfg.Records.Get(r.Context(), node)
	if err != nil {
		return next, record, fmt.Errorf("reading what is known of node %s: %w", node, err)
	}
	next.Hash = record.Hash
	if own == node {
		next.Keys = []string{keyHash(r.TLS.PeerCertificates[0].PublicKey)}
	} else {
		if !h.hasToken(r) {
			return next, record, refuse(http.StatusForbidden, joinapi.ReasonBadToken, "the client certificate is node %s's, not node %s's", own, node)
		}
		if next.Hash, err = h.checkPassword(node, req.Password, record.Hash); err != nil {
			return next, record, err
		}
	}
	return next, record, nil
}

// checkName refuses what is no node's name, or somebody else's.
func (h *Handler) checkName(node string) error {
	if msgs := validation.IsDNS1123Subdomain(node); len(msgs) > 0 {
		return refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "node name %q: %s", node, strings.Join(msgs, "; "))
	}
	if _, err := netip.ParseAddr(node); err == nil {
		return refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "node name %q is an address", node)
	}
	if err := h.cfg.Reserved.CheckName(node, node); err != nil {
		return refuse(http.StatusConflict, joinapi.ReasonNameTaken, "node name %v; choose another with --node-name", err)
	}
	return nil
}

// sign makes the certificates, and returns the public key of the client's too.
func (h *Handler) sign(req *joinapi.Request) (resp *joinapi.Response, clientKey crypto.PublicKey, err error) {
	cluster := h.cfg.Cluster()
	addresses, err := h.addresses(req)
	if err != nil {
		return nil, nil, err
	}
	node := pki.Leaf{CommonName: wellknown.UserNodePrefix + req.NodeName, Organizations: []string{wellknown.GroupNodes}}
	client, serving := node, node
	client.Client = true
	serving.Server, serving.DNSNames, serving.IPs = true, []string{req.NodeName, "localhost"}, addresses
	resp = &joinapi.Response{CA: string(h.cfg.CA.PEM()), KubeletCA: string(h.cfg.KubeletCA.PEM()), Cluster: cluster}
	for _, c := range []struct {
		what string
		csr  string
		ca   Signer
		leaf pki.Leaf
		out  *string
	}{
		{"client", req.ClientCSR, h.cfg.CA, client, &resp.Client},
		{"serving", req.ServingCSR, h.cfg.KubeletCA, serving, &resp.Serving},
		{"proxy", req.ProxyCSR, h.cfg.CA, pki.Leaf{CommonName: wellknown.UserProxy, Client: true}, &resp.Proxy},
	} {
		key, err := publicKey(c.csr)
		if err != nil {
			return nil, nil, refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "%s signing request: %v", c.what, err)
		}
		cert, err := c.ca.Sign(key, c.leaf, h.cfg.Now())
		if err != nil {
			return nil, nil, fmt.Errorf("signing the %s certificate of node %s: %w", c.what, req.NodeName, err)
		}
		*c.out = string(cert)
		if c.out == &resp.Client {
			clientKey = key
		}
	}
	return resp, clientKey, nil
}

// addresses that the node may have in its serving certificate.
func (h *Handler) addresses(req *joinapi.Request) ([]net.IP, error) {
	out := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if len(req.Addresses) > 64 {
		return nil, refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "too many addresses")
	}
	for _, s := range req.Addresses {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "address %q: %v", s, err)
		}
		if a.Unmap().IsLoopback() {
			continue
		}
		if err := h.cfg.Reserved.CheckAddress(req.NodeName, a); err != nil {
			return nil, refuse(http.StatusConflict, joinapi.ReasonNameTaken, "%v", err)
		}
		out = append(out, net.IP(a.Unmap().AsSlice()))
	}
	return out, nil
}

// publicKey takes the key of a signing request whose maker has the private half.
func publicKey(csrPEM string) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(csrPEM))
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("it is not a certificate request in PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	switch key := csr.PublicKey.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return key, nil
	case *rsa.PublicKey:
		if key.N.BitLen() >= 2048 {
			return key, nil
		}
	}
	return nil, errors.New("the key must be ECDSA, Ed25519 or RSA of 2048 bits or more")
}
