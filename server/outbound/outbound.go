package outbound

import (
	"context"
	"net"
	"net/http"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
)

// Config of a Client. All is required.
type Config struct {
	Catalogue *api.Catalogue
	Snapshot  func() *store.Snapshot
	// Dial connects to host:port by way of a node ("": unknown, or none of ours).
	Dial func(ctx context.Context, nodeName, address string) (net.Conn, error)
}

// Service names one port of a Service, and a path on it.
type Service struct {
	Namespace, Name, Path string
	Port                  int32 // default 443
}

// Target is where a call goes: a URL ("https://…") or a Service.
type Target struct {
	URL     string
	Service *Service
	// CABundle in PEM checks the target's certificate; empty means the machine's roots.
	CABundle []byte
	// Insecure skips that check (APIServices may ask for it).
	Insecure bool
}

// Client is safe for concurrent use.
type Client struct{ cfg Config }

// New starts nothing.
func New(cfg Config) *Client { return &Client{cfg} }

// Post sends a JSON body and returns the body of the 200 answer. ctx bounds the whole call.
func (c *Client) Post(ctx context.Context, t Target, body []byte) ([]byte, error) {
	panic("not written yet")
}

// Transport returns a transport for requests to the target, and the base URL they have. Transports of equal targets
// share their connections.
func (c *Client) Transport(t Target) (rt http.RoundTripper, base string, err error) {
	panic("not written yet")
}

// DialService connects to a ready endpoint of a port of a Service.
func (c *Client) DialService(ctx context.Context, namespace, name string, port int32) (net.Conn, error) {
	panic("not written yet")
}
