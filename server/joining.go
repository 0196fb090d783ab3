package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"codeberg.org/skiff/skiff/internal/joinapi"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/join"
	"codeberg.org/skiff/skiff/server/pki"
	"codeberg.org/skiff/skiff/server/tunnel"
)

// joining is how nodes come into the cluster, and how the server reaches them.
type joining struct {
	tunnels  *tunnel.Server
	handlers map[string]http.Handler
	public   []string
}

func (s *Server) wireJoining() error {
	serverSecret, err := s.secret(s.cfg.Token, s.cfg.Paths.ServerToken())
	if err != nil {
		return err
	}
	agentSecret, err := s.secret(s.cfg.AgentToken, s.cfg.Paths.AgentToken())
	if err != nil {
		return err
	}
	log := s.cfg.Log
	s.joining.tunnels = tunnel.New(tunnel.Config{ClientCAs: s.ca.Pool(), Now: s.cfg.Now, Log: log.With("component", "tunnel")})
	nodes := client.New(s.registry, s.store, s.catalogue, nil, system)
	handler := join.New(join.Config{
		CA: s.ca, KubeletCA: s.kubeletCA,
		ServerSecret: func() string { return serverSecret }, AgentSecret: func() string { return agentSecret },
		Records: join.SecretRecords{Client: nodes},
		NodeExists: func(name string) bool {
			_, ok := client.Get[*corev1.Node](nodes.Snapshot(), "", name)
			return ok
		},
		Reserved: s.reserved(),
		Cluster:  s.joinCluster,
		Now:      s.cfg.Now, Log: log.With("component", "join"),
	})
	s.joining.handlers = map[string]http.Handler{joinapi.CertificatesPath: handler, joinapi.TunnelPath: s.joining.tunnels, encryptionPath: s.encryptionHandler(), serviceAccountKeysPath: s.serviceAccountKeysHandler()}
	s.joining.public = []string{joinapi.CertificatesPath, joinapi.TunnelPath} // they look at tokens and certificates themselves
	return nil
}

// secret is the one from the flag, which is written down, or the one in the file, which is made if it is missing.
func (s *Server) secret(flag, file string) (string, error) {
	if flag == "" {
		return s.keys.Secret(file)
	}
	token, err := joinapi.ParseToken(flag)
	if err != nil {
		return "", err
	}
	if have, err := os.ReadFile(file); err == nil && string(have) == token.Secret+"\n" {
		return token.Secret, nil
	}
	if err := pki.WriteFile(file, []byte(token.Secret+"\n"), 0o600); err != nil {
		return "", err
	}
	return token.Secret, s.keys.Note(file)
}

func (s *Server) joinCluster() joinapi.Cluster {
	c := s.Cluster()
	return joinapi.Cluster{ClusterCIDRs: c.ClusterCIDRs, ServiceCIDRs: c.ServiceCIDRs, ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain,
		Servers: []string{net.JoinHostPort(s.advertised().String(), strconv.Itoa(s.cfg.Port))}}
}

// dialNode connects through the node's tunnel, or directly when it has none: the node of this machine, or one that is being set up.
func (s *Server) dialNode(ctx context.Context, node, address string) (net.Conn, error) {
	if node == s.cfg.NodeName || node == "" && s.localAgent() {
		return direct(ctx, address)
	}
	conn, err := s.joining.tunnels.Dial(ctx, node, address)
	if errors.Is(err, tunnel.ErrNoTunnel) {
		if conn, directErr := direct(ctx, address); directErr == nil {
			return conn, nil
		}
	}
	return conn, err
}

// localAgent tells whether this machine is a node, from which every pod and Service is reached.
func (s *Server) localAgent() bool {
	_, ok := client.Get[*corev1.Node](s.client.Snapshot(), "", s.cfg.NodeName)
	return ok
}

func direct(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	return d.DialContext(ctx, "tcp", address)
}

// JoinToken reads the token that joins an agent, or a server, from a server's data directory.
func JoinToken(p wellknown.Paths, forServer bool) (string, error) {
	user, file := joinapi.UserNode, p.AgentToken()
	if forServer {
		user, file = joinapi.UserServer, p.ServerToken()
	}
	if _, err := os.Stat(file); err != nil {
		return "", err // only a server that has run has one; reading must not make it
	}
	secret, err := pki.LoadSecret(file)
	if err != nil {
		return "", err
	}
	ca, err := pki.ReadCA(p.TLS(), "ca")
	if err != nil {
		return "", err
	}
	return joinapi.Token{Hash: ca.Hash(), User: user, Secret: secret}.String(), nil
}
