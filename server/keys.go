package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"codeberg.org/skiff/skiff/internal/wallclock"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/pki"
)

func (s *Server) loadKeys() (err error) {
	now := s.cfg.Now
	if s.keys, err = pki.OpenFolder(s.cfg.Paths.TLS(), s.clusterData()); err != nil {
		return err
	}
	for _, c := range []struct {
		ca           **pki.CA
		name, common string
		loss         string
	}{
		{&s.ca, "ca", "skiff-ca", pki.LossCA},
		{&s.frontCA, "front-proxy-ca", "skiff-front-proxy-ca", pki.LossFrontProxy},
		{&s.kubeletCA, "kubelet-ca", "skiff-kubelet-ca", pki.LossKubelet},
	} {
		if *c.ca, err = s.keys.CA(c.name, c.common, c.loss, now); err != nil {
			return err
		}
	}
	tokens := s.tokenConfig()
	if err := s.keys.Check(tokens.KeyFile(), pki.LossServiceAccount); err != nil {
		return err
	}
	if s.tokens, err = pki.NewTokenIssuer(tokens); err != nil {
		return s.keys.Damaged(err, pki.LossServiceAccount)
	}
	if err := s.keys.Note(tokens.KeyFile()); err != nil {
		return err
	}
	s.serving = pki.NewRotating(s.ca, s.servingLeaf, now)
	s.kubelet = pki.NewRotating(s.ca, func() pki.Leaf {
		return pki.Leaf{CommonName: wellknown.UserAPIServer, Organizations: []string{wellknown.GroupMasters}, Client: true}
	}, now)
	s.frontProxy = pki.NewRotating(s.frontCA, func() pki.Leaf { return pki.Leaf{CommonName: "front-proxy-client", Client: true} }, now)
	return nil
}

// clusterData is where the data of a cluster are, or what says that there were some, "" if there are none yet. The folder may be gone while the
// cluster goes on: a disk that is not mounted, a backup that is about to come back. Its keys are those of before.
func (s *Server) clusterData() string {
	if entries, err := os.ReadDir(filepath.Join(s.cfg.Paths.Etcd(), "member")); err == nil && len(entries) > 0 {
		return s.cfg.Paths.Etcd()
	}
	if _, err := os.Lstat(s.cfg.Paths.EtcdMark()); !errors.Is(err, fs.ErrNotExist) {
		return s.cfg.Paths.EtcdMark()
	}
	return ""
}

// servingLeaf names every way in which this server is reached.
func (s *Server) servingLeaf() pki.Leaf {
	names, addresses := hostNames(append([]string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + s.cfg.ClusterDomain,
		"localhost", s.cfg.NodeName, "127.0.0.1", "::1", s.advertised().String(), s.network.apiService.String(),
	}, s.cfg.TLSSANs...))
	leaf := pki.Leaf{CommonName: "kube-apiserver", DNSNames: names, Server: true}
	for _, a := range addresses {
		leaf.IPs = append(leaf.IPs, net.IP(a.AsSlice()))
	}
	return leaf
}

// kubeletTLS is the client configuration towards kubelets. Their certificates are of an authority of their own; those that agents got before there was one
// are still good, until they are renewed.
func (s *Server) kubeletTLS() *tls.Config {
	roots := s.kubeletCA.Pool()
	roots.AppendCertsFromPEM(s.ca.PEM())
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, GetClientCertificate: s.kubelet.GetClientCertificate}
}

// CA of the cluster, and a renewed serving certificate for a kubelet in this process.
func (s *Server) CA() *pki.CA { return s.ca }

// KubeletServing is the serving certificate of the kubelet in this process.
func (s *Server) KubeletServing(node string, hosts func() []string) *pki.Rotating {
	return pki.NewRotating(s.kubeletCA, func() pki.Leaf {
		names, addresses := hostNames(append([]string{node, "localhost", "127.0.0.1"}, hosts()...))
		leaf := pki.Leaf{CommonName: wellknown.UserNodePrefix + node, Organizations: []string{wellknown.GroupNodes}, DNSNames: names, Server: true}
		for _, a := range addresses {
			leaf.IPs = append(leaf.IPs, net.IP(a.AsSlice()))
		}
		return leaf
	}, s.cfg.Now)
}

// writeKubeconfigs writes the administrator's kubeconfig now and again before its certificate ends.
func (s *Server) writeKubeconfigs(ctx context.Context) error {
	host := "127.0.0.1"
	if s.cfg.BindAddress != "0.0.0.0" && s.cfg.BindAddress != "::" && s.cfg.BindAddress != "" {
		host = s.cfg.BindAddress
	}
	url := "https://" + net.JoinHostPort(host, strconv.Itoa(s.cfg.Port))
	admin := pki.Leaf{CommonName: "system:admin", Organizations: []string{wellknown.GroupMasters}}
	for {
		now := s.cfg.Now()
		data, err := s.ca.Kubeconfig(url, admin, now)
		if err != nil {
			return err
		}
		if err := pki.WriteFile(s.cfg.Paths.AdminKubeconfig(), data, 0o600); err != nil {
			return fmt.Errorf("write the administrator's kubeconfig: %w", err)
		}
		for due := pki.RenewalTime(now, now.Add(pki.LeafLifetime)); ; {
			<-wallclock.After(ctx, due.Sub(s.cfg.Now()))
			if ctx.Err() != nil {
				return nil
			}
			if t := s.cfg.Now(); !t.Before(due) || t.Before(now) {
				break // it was set, forward or back
			}
		}
	}
}
