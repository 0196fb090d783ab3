// Package wellknown is the one place for names that several parts of skiff must agree on: ports, address ranges, paths,
// label and annotation keys, users and groups. It imports nothing of skiff.
package wellknown

import "path/filepath"

// Ports.
const (
	APIServerPort = 6443
	KubeletPort   = 10250
	EtcdPeerPort  = 2380
	VXLANPort     = 8472
	VXLANID       = 1
)

// Default address ranges and names of a cluster.
const (
	DefaultClusterCIDR   = "10.42.0.0/16"
	DefaultNodeMaskIPv4  = 24
	DefaultNodeMaskIPv6  = 64
	DefaultServiceCIDR   = "10.43.0.0/16"
	DefaultAPIServiceIP  = "10.43.0.1"
	DefaultClusterDNS    = "10.43.0.10"
	DefaultClusterDomain = "cluster.local"
	DefaultNodePortRange = "30000-32767"
)

// Names that skiff writes into the API or the kernel.
const (
	BridgeName = "skiff0"
	VXLANName  = "skiff.vxlan"
	// ChainPrefix of every iptables chain that netproxy and podnet own.
	ChainPrefix = "SKIFF-"

	LabelHostname     = "kubernetes.io/hostname"
	LabelControlPlane = "node-role.kubernetes.io/control-plane"
	// AnnotationVTEP carries a node's vxlan MAC address and underlay address: "mac/ip".
	AnnotationVTEP = "skiff.io/vtep"
	// AnnotationConfigSource, -Hash and -Mirror mark static pods, as kubelet does.
	AnnotationConfigSource = "kubernetes.io/config.source"
	AnnotationConfigHash   = "kubernetes.io/config.hash"
	AnnotationConfigMirror = "kubernetes.io/config.mirror"
)

// Users and groups.
const (
	GroupMasters         = "system:masters"
	GroupNodes           = "system:nodes"
	GroupAuthenticated   = "system:authenticated"
	GroupUnauthenticated = "system:unauthenticated"
	UserAnonymous        = "system:anonymous"
	// UserNodePrefix + node name is a kubelet.
	UserNodePrefix = "system:node:"
	// UserAPIServer is whom a kubelet sees when the server calls it.
	UserAPIServer = "kube-apiserver-kubelet-client"
	UserScheduler = "system:kube-scheduler"
	UserProxy     = "system:kube-proxy"
	// Issuer of service-account tokens, and their default audience.
	ServiceAccountIssuer = "https://kubernetes.default.svc.cluster.local"
)

// Paths of a node, all below one data and one run directory.
type Paths struct {
	// Data is --data-dir (/var/lib/skiff), Run is --run-dir (/run/skiff), Config is --config-dir (/etc/skiff),
	// Log is --log-dir (/var/log): pods and containers below it.
	Data, Run, Config, Log string
}

// DefaultPaths are where an installed skiff keeps things.
func DefaultPaths() Paths {
	return Paths{Data: "/var/lib/skiff", Run: "/run/skiff", Config: "/etc/skiff", Log: "/var/log"}
}

// Server side.
func (p Paths) Etcd() string { return filepath.Join(p.Data, "server", "etcd") }

// EtcdMark stands beside Etcd once there were data: without it, a folder that is gone would look like a first start.
func (p Paths) EtcdMark() string { return filepath.Join(p.Data, "server", "etcd.begun") }

// TLS holds certificate authorities, keys and leaves.
func (p Paths) TLS() string { return filepath.Join(p.Data, "server", "tls") }

// EncryptionKeys encrypt what etcd holds; see server/store/encrypt.
func (p Paths) EncryptionKeys() string { return filepath.Join(p.TLS(), "encryption.json") }

// ServerManifests are applied by the server at start.
func (p Paths) ServerManifests() string { return filepath.Join(p.Data, "server", "manifests") }

// ServerToken and AgentToken are what joins a server or an agent.
func (p Paths) ServerToken() string { return filepath.Join(p.Data, "server", "token") }

// AgentToken cannot administer the cluster.
func (p Paths) AgentToken() string { return filepath.Join(p.Data, "server", "agent-token") }

// AdminKubeconfig, 0600.
func (p Paths) AdminKubeconfig() string { return filepath.Join(p.Config, "skiff.yaml") }

// RegistriesFile configures mirrors and credentials.
func (p Paths) RegistriesFile() string { return filepath.Join(p.Config, "registries.yaml") }

// ConfigFile holds flags as keys.
func (p Paths) ConfigFile() string { return filepath.Join(p.Config, "config.yaml") }

// Agent side.
func (p Paths) AgentTLS() string { return filepath.Join(p.Data, "agent", "tls") }

// Images is the image store.
func (p Paths) Images() string { return filepath.Join(p.Data, "agent", "images") }

// Snapshots are the containers' writable layers.
func (p Paths) Snapshots() string { return filepath.Join(p.Data, "agent", "snapshots") }

// Containers is the runtime's state that survives a reboot.
func (p Paths) Containers() string { return filepath.Join(p.Data, "agent", "containers") }

// Pods are the kubelet's pod directories: volumes, etc-hosts, checkpoints.
func (p Paths) Pods() string { return filepath.Join(p.Data, "agent", "pods") }

// Shim is the folder of the small executable that keeps and starts containers.
func (p Paths) Shim() string { return filepath.Join(p.Data, "agent", "shim") }

// PodManifests are static pods, from YAML on disk.
func (p Paths) PodManifests() string { return filepath.Join(p.Data, "agent", "manifests") }

// PodLogs as kubelet lays them out: <ns>_<pod>_<uid>/<container>/<n>.log.
func (p Paths) PodLogs() string { return filepath.Join(p.Log, "pods") }

// ContainerLogs are symlinks to PodLogs.
func (p Paths) ContainerLogs() string { return filepath.Join(p.Log, "containers") }

// Finalizers that hold storage objects which are in use.
const (
	FinalizerVolumeProtection          = "kubernetes.io/pv-protection"
	FinalizerClaimProtection           = "kubernetes.io/pvc-protection"
	FinalizerAttributesClassProtection = "kubernetes.io/vac-protection"
)
