package proxy

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
)

// Config of a Proxy.
type Config struct {
	Dial       func(ctx context.Context, nodeName, address string) (net.Conn, error)
	KubeletTLS func() *tls.Config
	Log        *slog.Logger
}

// Proxy passes requests on.
type Proxy struct{ cfg Config }

// New starts nothing.
func New(cfg Config) *Proxy { return &Proxy{cfg} }
