// Package joinapi is what a joining node and its server say to each other: tokens, paths and messages. Both halves
// (agent/join; server/join and server/tunnel) import it, so that neither imports the other.
//
// Joining: the node fetches CACertsPath without verification and compares its hash with the one in the token; from then
// on it trusts that authority alone. It posts a Request to CertificatesPath, showing the token or, later, its client
// certificate, and gets a Response. Then it keeps a connection to TunnelPath of each server open (HTTP/1.1 upgrade to
// Upgrade), on which HTTP/2 runs with the roles reversed: the server sends CONNECT host:port requests to the node.
//
// It has no goroutines and no state.
package joinapi

// Paths below the API server's address.
const (
	CACertsPath      = "/cacerts"
	CertificatesPath = "/v1-skiff/node-certificates"
	TunnelPath       = "/v1-skiff/tunnel"
	// Upgrade is the protocol that TunnelPath switches to.
	Upgrade = "skiff-tunnel"
	// ServerName is in the serving certificate of every API server of a cluster, whatever its addresses.
	ServerName = "kubernetes"
	// MaxBody of a Request or Response in bytes.
	MaxBody = 256 << 10
)

// Request asks for a node's certificates.
type Request struct {
	NodeName string `json:"nodeName"`
	// Password is the node's own secret, made at its first join: who shows it, or the node's valid client certificate,
	// is the node.
	Password string `json:"password"`
	// Addresses of the node, IPs only, for its serving certificate.
	Addresses []string `json:"addresses,omitempty"`
	// Certificate signing requests in PEM. Only their public keys are used.
	ClientCSR  string `json:"clientCSR"`
	ServingCSR string `json:"servingCSR"`
	ProxyCSR   string `json:"proxyCSR"`
	// KubeletCA says that the node knows of Response.KubeletCA; older agents would refuse such a serving certificate.
	KubeletCA bool `json:"kubeletCA,omitempty"`
}

// Response holds the certificates and what a node has to know of its cluster. All PEM.
type Response struct {
	// Client is system:node:<name> in system:nodes, Serving the kubelet's, Proxy is system:kube-proxy's.
	Client  string  `json:"client"`
	Serving string  `json:"serving"`
	Proxy   string  `json:"proxy"`
	CA      string  `json:"ca"`
	Cluster Cluster `json:"cluster"`
	// KubeletCA signed Serving. Only servers trust it, and only for kubelets, so that no node can pass for an API server.
	KubeletCA string `json:"kubeletCA"`
}

// Cluster is what a node has to know of its cluster.
type Cluster struct {
	ClusterCIDRs  []string `json:"clusterCIDRs"`
	ServiceCIDRs  []string `json:"serviceCIDRs"`
	ClusterDNS    string   `json:"clusterDNS"`
	ClusterDomain string   `json:"clusterDomain"`
	// Servers are the API servers' host:port.
	Servers []string `json:"servers"`
}

// Problem is the body of an answer that is not a Response.
type Problem struct {
	Message string `json:"message"`
	// Reason is one of the constants below, or "".
	Reason string `json:"reason,omitempty"`
}

// Reasons of a Problem.
const (
	ReasonBadToken  = "BadToken"
	ReasonNameTaken = "NameTaken"
	ReasonInvalid   = "Invalid"
)
