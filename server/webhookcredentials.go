package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"

	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"codeberg.org/skiff/skiff/server/outbound"
)

// webhookCredentials are the users of a kubeconfig, by the host of the webhook that knows them. Nil: there are none.
type webhookCredentials struct {
	users webhookutil.AuthenticationInfoResolver
}

func newWebhookCredentials(kubeconfig string) (*webhookCredentials, error) {
	if kubeconfig == "" {
		return nil, nil
	}
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of webhooks %s: %w", kubeconfig, err)
	}
	for name, user := range config.AuthInfos {
		if user.Exec != nil || user.AuthProvider != nil || user.Impersonate != "" {
			return nil, fmt.Errorf("kubeconfig of webhooks %s: user %q: only certificates, tokens and passwords are possible", kubeconfig, name)
		}
	}
	users, err := webhookutil.NewDefaultAuthenticationInfoResolver(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig of webhooks %s: %w", kubeconfig, err)
	}
	return &webhookCredentials{users}, nil
}

// of finds the user for a target; nil if the file has none for it.
func (c *webhookCredentials) of(t *outbound.Target) (*outbound.Credentials, error) {
	if c == nil {
		return nil, nil
	}
	config, err := c.configFor(t)
	if err != nil {
		return nil, err
	}
	if config.BearerToken == "" && config.Username == "" && config.CertFile == "" && len(config.CertData) == 0 {
		return nil, nil
	}
	mark := sha256.New()
	for _, part := range [][]byte{[]byte(config.CertFile), config.CertData, []byte(config.KeyFile), config.KeyData, []byte(config.Username)} {
		fmt.Fprintf(mark, "%d:%s", len(part), part)
	}
	out := &outbound.Credentials{Name: hex.EncodeToString(mark.Sum(nil)), Authorize: func(r *http.Request) error {
		if config.BearerToken != "" {
			r.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace([]byte(config.BearerToken))))
		} else if config.Username != "" {
			r.SetBasicAuth(config.Username, config.Password)
		}
		return nil
	}}
	if config.CertFile != "" || len(config.CertData) > 0 {
		out.Certificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return clientCertificate(config) }
	}
	return out, nil
}

func (c *webhookCredentials) configFor(t *outbound.Target) (*rest.Config, error) {
	if s := t.Service; s != nil {
		port := s.Port
		if port == 0 {
			port = 443
		}
		return c.users.ClientConfigForService(s.Name, s.Namespace, int(port))
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	if port == "" {
		port = strconv.Itoa(443)
	}
	return c.users.ClientConfigFor(net.JoinHostPort(u.Hostname(), port))
}

// clientCertificate reads it for each handshake, so that a renewed one is used.
func clientCertificate(c *rest.Config) (*tls.Certificate, error) {
	cert, key := c.CertData, c.KeyData
	var err error
	if len(cert) == 0 {
		if cert, err = os.ReadFile(c.CertFile); err != nil {
			return nil, err
		}
	}
	if len(key) == 0 {
		if key, err = os.ReadFile(c.KeyFile); err != nil {
			return nil, err
		}
	}
	pair, err := tls.X509KeyPair(cert, key)
	return &pair, err
}
