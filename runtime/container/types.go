package container

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"codeberg.org/skiff/skiff/runtime/keeper"
	"codeberg.org/skiff/skiff/runtime/stats"
)

// Config of a Manager.
type Config struct {
	// StateDir survives reboots, RunDir (tmpfs) does not. RunDir must not lie inside the executable's folder, nor the other
	// way round (libcontainer would copy the executable into memory at each start); Open checks it.
	StateDir, RunDir string
	// CgroupRoot is the cgroup (relative to each hierarchy's root) under which all sandboxes' cgroups hang, e.g. "skiff".
	CgroupRoot string
	// Executable that becomes keepers, creators, executors and container init (package reexec): the shim, or by default this one.
	Executable string
	// Snapshots makes root filesystems.
	Snapshots Snapshotter
	// LogMaxSize (bytes, default 10 MiB) and LogMaxFiles (default 5): the Manager rotates a container's log file when the
	// keeper says that it has reached the size, and keeps so many files of it. A negative size: never.
	LogMaxSize  int64
	LogMaxFiles int
	// Logger may be nil.
	Logger *slog.Logger

	reached func(step string) // of tests, see step
}

// Snapshotter makes and removes the root filesystem of a container. runtime/snapshot implements it.
type Snapshotter interface {
	// Prepare mounts a writable root filesystem of the image for the container and returns its path. Idempotent, and
	// gives back the same writable layer after a reboot. With users its owners are those of the user namespace.
	Prepare(ctx context.Context, containerID, imageID string, users *Users) (rootfs string, err error)
	// Volumes makes the folders of an image's VOLUMEs for a prepared container, filled from the image, by path; paths without
	// one are left out. Idempotent.
	Volumes(ctx context.Context, containerID string, paths []string) (map[string]string, error)
	// Remove unmounts and deletes it, with its volumes. Idempotent.
	Remove(ctx context.Context, containerID string) error
}

// SandboxSpec is what the caller wants; it is kept on disk.
type SandboxSpec struct {
	// ID is unique for ever and safe as a file name, e.g. <uid>-<attempt>.
	ID string
	// Labels come back from List; the manager does not read them.
	Labels map[string]string
	// Hostname in the UTS namespace; "" keeps the host's (with HostNetwork).
	Hostname string
	// HostNetwork, HostPID, HostIPC: use the host's namespace. SharedPID: one PID namespace for all containers, whose
	// process 1 is the keeper's.
	HostNetwork, HostPID, HostIPC, SharedPID bool
	// Cgroup is the sandbox's cgroup below CgroupRoot, e.g. "kubepods/burstable/pod<uid>"; made with Resources.
	Cgroup    string
	Resources Resources
	// UserNamespace: one of its own, with 65536 ids that no other sandbox has.
	UserNamespace bool `json:",omitempty"`
	// Sysctls set in the sandbox's namespaces, e.g. net.ipv4.ip_unprivileged_port_start.
	Sysctls map[string]string
}

// SandboxState is Ready or Stopped.
type SandboxState string

const (
	SandboxReady   SandboxState = "ready"
	SandboxStopped SandboxState = "stopped"
)

// Sandbox is what is true of a sandbox.
type Sandbox struct {
	Spec      SandboxSpec
	State     SandboxState
	CreatedAt time.Time
	// KeeperPID is 0 when stopped. NetNS is the path of the network namespace; "" for the host's.
	KeeperPID int
	NetNS     string
	// Users is its user namespace; nil for the host's.
	Users      *Users
	Containers []Container
}

// ContainerSpec is what the caller wants of a container; it is kept on disk.
type ContainerSpec struct {
	// ID is unique for ever and safe as a file name. Name and Attempt are the caller's and come back from List.
	ID, Name string
	Attempt  int
	Labels   map[string]string

	// ImageID as the image store knows it; the manager asks the Snapshotter for the root filesystem.
	ImageID string
	// Args is the whole command line; Args[0] is looked up in PATH of Env inside the root filesystem.
	Args []string
	Env  []string
	Cwd  string

	TTY, Stdin, StdinOnce bool
	// LogPath is the CRI log file the keeper writes; "" for none.
	LogPath string

	Mounts []Mount
	// Volumes are the paths for which the image wants a volume; those that Mounts has are that.
	Volumes []string
	Devices []Device

	// User: numeric ids. Groups are supplementary.
	UID, GID uint32
	Groups   []uint32
	// Capabilities are names like "CAP_CHOWN": bounding, permitted and effective (ambient when not root and asked by the caller).
	Capabilities    []string
	Privileged      bool
	ReadonlyRootfs  bool
	NoNewPrivileges bool
	// Seccomp: "unconfined", "runtime/default", or the path of a profile file (localhost/).
	Seccomp string
	// AppArmor is the name of a loaded profile, AppArmorDefault, AppArmorDefaultIfPossible, or "" for none.
	AppArmor string `json:",omitempty"`
	// SELinux label of the processes; nil for that of the daemon.
	SELinux *SELinux `json:",omitempty"`
	// MaskedPaths and ReadonlyPaths; nil means the usual ones, empty means none.
	MaskedPaths, ReadonlyPaths []string
	// TargetPID: join the PID namespace of this container (ephemeral containers); "" for none.
	TargetContainer string

	Resources   Resources
	OOMScoreAdj int
	StopSignal  string // e.g. "SIGTERM", the default
}

// Mount is a bind mount of a host path, or a tmpfs (Source "tmpfs").
type Mount struct {
	Source, Destination string
	ReadOnly            bool
	// RecursiveReadOnly makes the mounts below Source read-only too.
	RecursiveReadOnly bool
	// Propagation: "private" (default), "slave", "shared".
	Propagation string
	// Options: "noexec", "nosuid", "nodev".
	Options []string
}

// Device gives a device node of the host.
type Device struct{ HostPath, ContainerPath, Permissions string }

// Resources are cgroup limits; 0 means no limit.
type Resources struct {
	// CPUShares as in cgroup v1 (2…262144); translated to cpu.weight on v2.
	CPUShares uint64
	// CPUQuota in microseconds a CPUPeriod.
	CPUQuota    int64
	CPUPeriod   uint64
	MemoryLimit int64 // bytes
	// MemoryMin and MemoryHigh are bytes, cgroup v2 only.
	PIDsLimit int64
	// HugepageLimit in bytes by page size ("2MB"). Not nil: sizes that it does not name are 0.
	HugepageLimit map[string]uint64
	// Unified are raw cgroup v2 files.
	Unified map[string]string
}

// State of a container.
type State string

const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
)

// Container is what is true of a container.
type Container struct {
	Spec       ContainerSpec
	SandboxID  string
	State      State
	PID        int // in the host's PID namespace; 0 unless running
	CreatedAt  time.Time
	StartedAt  time.Time
	FinishedAt time.Time
	// ExitCode as a shell gives it: 128+n for signal n. Signal is n, or 0.
	ExitCode, Signal int
	// OOMKilled: the kernel's OOM killer took a process of this container.
	OOMKilled bool
	// Message says why it could not be started.
	Message string
	// Asked: its keeper was asked to start it. Without this it has never run.
	Asked bool `json:",omitempty"`
}

// Event says that a container or sandbox changed; read its state with Container or Sandbox. Container is "" for the sandbox.
type Event struct{ SandboxID, ContainerID string }

// ExecSpec is one more process in a running container.
type ExecSpec struct {
	Args []string
	// Env is added to the container's. Cwd and user are the container's.
	Env            []string
	TTY            bool
	Stdin          io.Reader // nil: none
	Stdout, Stderr io.Writer // nil: discarded; with TTY all goes to Stdout
	// Resize delivers terminal sizes; may be nil.
	Resize <-chan Size
	// Timeout kills the process; 0: none.
	Timeout time.Duration
}

// AttachSpec connects to the streams of a running container; output from now on.
type AttachSpec struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size
}

// Size of a terminal, in characters.
type Size = keeper.Size

// Stats of a sandbox or a container at one time.
type Stats struct {
	Time time.Time
	// CPUNanos is the total CPU time used.
	CPUNanos uint64
	// MemoryUsage, WorkingSet (usage less inactive file cache) and RSS, in bytes.
	MemoryUsage, WorkingSet, RSS uint64
	PageFaults, MajorPageFaults  uint64
	PIDs                         uint64
	// MemoryLimit, Swap in use and SwapLimit (of swap alone), in bytes; a limit of 0 is none, or none that is known.
	MemoryLimit, Swap, SwapLimit uint64
	// Interfaces of the sandbox's network namespace; none for a container, and for a sandbox in the host's.
	Interfaces []stats.Network
}

// NetNSFile is an open network namespace, for what must run inside it.
type NetNSFile = *os.File
