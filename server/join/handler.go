package join

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
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

// Passwords remembers the hashes of the nodes' passwords. See SecretPasswords.
type Passwords interface {
	// Get returns the hash; "" if the node has none.
	Get(ctx context.Context, node string) (hash string, err error)
	// Put stores the first hash of a node, or replaces old. It fails if another was stored meanwhile.
	Put(ctx context.Context, node, old, hash string) error
}

// Config of a Handler.
type Config struct {
	CA Signer
	// ServerSecret and AgentSecret are the secrets of the two kinds of token.
	ServerSecret, AgentSecret func() string
	Passwords                 Passwords
	// NodeExists reports whether there is a Node of this name.
	NodeExists func(name string) bool
	// AddressOwner names the node that has an address, "" if none has.
	AddressOwner func(netip.Addr) string
	// Cluster is what the node is told. Its Servers' addresses and its service ranges never get into a node's certificate.
	Cluster func() joinapi.Cluster
	// ReservedNames no node may have: the servers' host names.
	ReservedNames []string
	Now           func() time.Time
	Log           *slog.Logger
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
	own, certErr := joinapi.NodeOf(r.TLS, h.cfg.CA.Pool(), h.cfg.Now())
	if certErr != nil && !h.hasToken(r) {
		return nil, "", refuse(http.StatusUnauthorized, joinapi.ReasonBadToken, "the join token is not this cluster's")
	}
	var req joinapi.Request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, joinapi.MaxBody)).Decode(&req); err != nil {
		return nil, "", refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "reading the request: %v", err)
	}
	node = req.NodeName
	if err := h.checkName(node); err != nil {
		return nil, node, err
	}
	if own != node {
		if !h.hasToken(r) {
			return nil, node, refuse(http.StatusForbidden, joinapi.ReasonBadToken, "the client certificate is node %s's, not node %s's", own, node)
		}
		if err := h.checkPassword(r.Context(), node, req.Password); err != nil {
			return nil, node, err
		}
	}
	resp, err = h.sign(&req)
	return resp, node, err
}

// hasToken takes HTTP basic (user and secret of the token) or bearer (the whole token). Both kinds join a node.
func (h *Handler) hasToken(r *http.Request) bool {
	user, secret, ok := r.BasicAuth()
	if !ok {
		bearer, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		token, err := joinapi.ParseToken(bearer)
		if !found || err != nil {
			return false
		}
		user, secret = token.User, token.Secret
	}
	// A short token is a secret that does not say of which kind it is, so the kind is not held against it.
	server, agent := same(secret, h.cfg.ServerSecret()), same(secret, h.cfg.AgentSecret())
	return (user == joinapi.UserServer || user == joinapi.UserNode) && server|agent == 1
}

// same compares in constant time, whatever the lengths; an empty secret equals nothing.
func same(got, want string) int {
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	if want == "" {
		return 0
	}
	return subtle.ConstantTimeCompare(a[:], b[:])
}

// checkName refuses names that a server's certificate has: the same authority signs both.
func (h *Handler) checkName(node string) error {
	if msgs := validation.IsDNS1123Subdomain(node); len(msgs) > 0 {
		return refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "node name %q: %s", node, strings.Join(msgs, "; "))
	}
	if node == "localhost" || node == joinapi.ServerName || strings.HasPrefix(node, joinapi.ServerName+".") || slices.Contains(h.cfg.ReservedNames, node) {
		return refuse(http.StatusConflict, joinapi.ReasonNameTaken, "node name %q is a name of the API server; choose another with --node-name", node)
	}
	if _, err := netip.ParseAddr(node); err == nil {
		return refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "node name %q is an address", node)
	}
	return nil
}

func (h *Handler) checkPassword(ctx context.Context, node, password string) error {
	if len(password) < 16 || len(password) > 256 {
		return refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "the node password must have 16 to 256 characters")
	}
	hash, err := h.cfg.Passwords.Get(ctx, node)
	if err != nil {
		return fmt.Errorf("reading the password of node %s: %w", node, err)
	}
	if hash != "" && checkHash(hash, password) {
		return nil
	}
	exists := h.cfg.NodeExists != nil && h.cfg.NodeExists(node)
	if exists {
		return refuse(http.StatusConflict, joinapi.ReasonNameTaken,
			"node name %q is taken by a machine with another node password; if that machine was reinstalled, run \"kubectl delete node %s\" first, otherwise choose another --node-name", node, node)
	}
	next, err := newHash(password)
	if err != nil {
		return err
	}
	if err := h.cfg.Passwords.Put(ctx, node, hash, next); err != nil {
		return fmt.Errorf("storing the password of node %s: %w", node, err)
	}
	return nil
}

func (h *Handler) sign(req *joinapi.Request) (*joinapi.Response, error) {
	cluster := h.cfg.Cluster()
	addresses, err := h.addresses(req, cluster)
	if err != nil {
		return nil, err
	}
	node := pki.Leaf{CommonName: wellknown.UserNodePrefix + req.NodeName, Organizations: []string{wellknown.GroupNodes}}
	client, serving := node, node
	client.Client = true
	serving.Server, serving.DNSNames, serving.IPs = true, []string{req.NodeName, "localhost"}, addresses
	resp := &joinapi.Response{CA: string(h.cfg.CA.PEM()), Cluster: cluster}
	for _, c := range []struct {
		what string
		csr  string
		leaf pki.Leaf
		out  *string
	}{
		{"client", req.ClientCSR, client, &resp.Client},
		{"serving", req.ServingCSR, serving, &resp.Serving},
		{"proxy", req.ProxyCSR, pki.Leaf{CommonName: wellknown.UserProxy, Client: true}, &resp.Proxy},
	} {
		key, err := publicKey(c.csr)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "%s signing request: %v", c.what, err)
		}
		cert, err := h.cfg.CA.Sign(key, c.leaf, h.cfg.Now())
		if err != nil {
			return nil, fmt.Errorf("signing the %s certificate of node %s: %w", c.what, req.NodeName, err)
		}
		*c.out = string(cert)
	}
	return resp, nil
}

// addresses that the node may have in its serving certificate.
func (h *Handler) addresses(req *joinapi.Request, cluster joinapi.Cluster) ([]net.IP, error) {
	out := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if len(req.Addresses) > 64 {
		return nil, refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "too many addresses")
	}
	for _, s := range req.Addresses {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, refuse(http.StatusBadRequest, joinapi.ReasonInvalid, "address %q: %v", s, err)
		}
		a = a.Unmap()
		if a.IsLoopback() {
			continue
		}
		if owner := h.ownerOf(a, cluster); owner != "" && owner != req.NodeName {
			return nil, refuse(http.StatusConflict, joinapi.ReasonNameTaken, "address %s belongs to %s", a, owner)
		}
		out = append(out, net.IP(a.AsSlice()))
	}
	return out, nil
}

func (h *Handler) ownerOf(a netip.Addr, cluster joinapi.Cluster) string {
	for _, cidr := range cluster.ServiceCIDRs {
		if p, err := netip.ParsePrefix(cidr); err == nil && p.Contains(a) {
			return "the service range " + cidr
		}
	}
	for _, server := range cluster.Servers {
		if ap, err := netip.ParseAddrPort(server); err == nil && ap.Addr().Unmap() == a {
			return "the API server " + server
		}
	}
	if h.cfg.AddressOwner == nil {
		return ""
	}
	return h.cfg.AddressOwner(a)
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
