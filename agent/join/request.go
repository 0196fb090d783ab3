package join

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"codeberg.org/skiff/skiff/internal/joinapi"
)

// Errors of joining that trying again does not cure.
var (
	// ErrWrongCA: the server is not of the cluster that the token names, or somebody sits in between.
	ErrWrongCA  = errors.New("the server's certificate authority is not the token's")
	ErrBadToken = errors.New("the join token is not accepted")
	// ErrNameTaken: another machine has the node name.
	ErrNameTaken = errors.New("the node name is taken")
	ErrRefused   = errors.New("the server refuses the request")
)

// requestTimeout of one request of joining.
const requestTimeout = 15 * time.Second

// fetchCA gets the authorities of the server and verifies them by the token's hash.
func (id *Identity) fetchCA(ctx context.Context) ([]byte, error) {
	client, done := id.httpClient(&tls.Config{InsecureSkipVerify: true}) // the hash is what verifies it
	defer done()
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, id.cfg.Server+joinapi.CACertsPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetching the certificate authority: %w", err)
	}
	defer resp.Body.Close()
	bundle, err := io.ReadAll(io.LimitReader(resp.Body, joinapi.MaxBody))
	if err != nil {
		return nil, fmt.Errorf("fetching the certificate authority: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching the certificate authority: %s", resp.Status)
	}
	return bundle, id.checkCA(bundle)
}

func (id *Identity) checkCA(bundle []byte) error {
	hash, err := joinapi.HashBundle(bundle)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWrongCA, err)
	}
	if id.token.Hash == "" {
		id.log.Warn("the token has no CA hash, so the server's authority is trusted unseen", "hash", hash)
		return nil
	}
	if hash != id.token.Hash {
		return fmt.Errorf("%w: %s has hash %s, the token says %s: it is another cluster, or somebody intercepts the connection", ErrWrongCA, id.cfg.Server, hash, id.token.Hash)
	}
	return nil
}

// request asks for new certificates, showing the ones there are or else the token.
func (id *Identity) request(ctx context.Context, caPEM []byte, old *state) (*state, map[string][]byte, error) {
	body := joinapi.Request{NodeName: id.cfg.NodeName, Addresses: id.cfg.Addresses(), KubeletCA: true}
	var err error
	if body.Password, err = id.files.password(); err != nil && (old == nil || !errors.Is(err, errDamaged)) {
		return nil, nil, err // who shows a certificate is not asked for it
	}
	keys := map[string][]byte{}
	for name, csr := range map[string]*string{leafClient: &body.ClientCSR, leafServing: &body.ServingCSR, leafProxy: &body.ProxyCSR} {
		if keys[name], *csr, err = newKey(); err != nil {
			return nil, nil, err
		}
	}
	resp, err := id.post(ctx, caPEM, &body, old)
	if err != nil {
		return nil, nil, err
	}
	if resp.KubeletCA == "" {
		return nil, nil, errors.New("the server is older than this agent and gives kubelets no authority of their own; upgrade it first")
	}
	s := &state{caPEM: []byte(resp.CA), kubeletPEM: []byte(resp.KubeletCA), cluster: resp.Cluster, leaves: map[string]*tls.Certificate{}}
	for name, certPEM := range map[string]string{leafClient: resp.Client, leafServing: resp.Serving, leafProxy: resp.Proxy} {
		cert, err := tls.X509KeyPair([]byte(certPEM), keys[name])
		if err != nil {
			return nil, nil, fmt.Errorf("the %s certificate that the server sent: %w", name, err)
		}
		s.leaves[name] = &cert
		keys[name] = append([]byte(strings.TrimSpace(certPEM)+"\n"), keys[name]...)
	}
	if err := s.check(); err != nil {
		return nil, nil, fmt.Errorf("what the server sent: %w", err)
	}
	return s, keys, nil
}

func (id *Identity) post(ctx context.Context, caPEM []byte, body *joinapi.Request, old *state) (*joinapi.Response, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(caPEM) {
		return nil, fmt.Errorf("%w: it holds no certificate", ErrWrongCA)
	}
	conf := &tls.Config{RootCAs: roots, ServerName: joinapi.ServerName}
	if old != nil {
		conf.Certificates = []tls.Certificate{*old.leaves[leafClient]}
	}
	client, done := id.httpClient(conf)
	defer done()
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, id.cfg.Server+joinapi.CertificatesPath, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if id.token.Secret != "" {
		req.SetBasicAuth(id.token.User, id.token.Secret)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking for the node's certificates: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, problem(resp)
	}
	out := &joinapi.Response{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, joinapi.MaxBody)).Decode(out); err != nil {
		return nil, fmt.Errorf("asking for the node's certificates: reading the answer: %w", err)
	}
	return out, nil
}

// problem turns the server's answer into an error of its kind.
func problem(resp *http.Response) error {
	var p joinapi.Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, joinapi.MaxBody)).Decode(&p); err != nil || p.Message == "" {
		p.Message = resp.Status
	}
	kind, ok := map[string]error{joinapi.ReasonBadToken: ErrBadToken, joinapi.ReasonNameTaken: ErrNameTaken, joinapi.ReasonInvalid: ErrRefused}[p.Reason]
	if !ok {
		return fmt.Errorf("asking for the node's certificates: %s", p.Message)
	}
	return fmt.Errorf("asking for the node's certificates: %w: %s", kind, p.Message)
}

func (id *Identity) httpClient(conf *tls.Config) (*http.Client, func()) {
	conf.MinVersion, conf.Time = tls.VersionTLS12, id.cfg.Now
	t := &http.Transport{DialContext: id.cfg.Dial, TLSClientConfig: conf, TLSHandshakeTimeout: 10 * time.Second, DisableKeepAlives: true}
	return &http.Client{Transport: t}, t.CloseIdleConnections
}
