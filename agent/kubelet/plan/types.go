package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Have is what is observed of one pod on this node.
type Have struct {
	// Sandbox is the newest one; nil when there is none.
	Sandbox *Sandbox `json:"sandbox,omitempty"`
	// LastSandboxAttempt numbers the newest sandbox that ever was; -1 when there was none.
	LastSandboxAttempt int `json:"lastSandboxAttempt"`
	// Containers are the known attempts of each container by name, newest first.
	Containers map[string][]Attempt `json:"containers,omitempty"`
	// Tasks in flight and the failures of the last tries, by Step.Key.
	Tasks map[string]Task `json:"tasks,omitempty"`
	// Volumes are set up as the pod asks now.
	Volumes bool `json:"volumes,omitempty"`
	// Images that are present and may be used, by container name; the value is the image's ID.
	Images map[string]string `json:"images,omitempty"`
	// Probes by container ID.
	Probes map[string]Probe `json:"probes,omitempty"`
	// StartTime is when this node accepted the pod.
	StartTime time.Time `json:"startTime,omitempty"`
	// Ending is when this node first saw that the pod ends; zero: not yet. The pod's grace counts from here.
	Ending time.Time `json:"ending,omitempty"`
	// Verdict ends the pod from outside: rejected or evicted.
	Verdict *Verdict `json:"verdict,omitempty"`
	// Removed: the pod is no longer wanted and no object is left to delete (or it is a static pod's file that went).
	Removed bool `json:"removed,omitempty"`
	// TornDown: volumes and directories are gone.
	TornDown bool `json:"tornDown,omitempty"`
	// Reported: the final status reached the server, so the object may go.
	Reported bool `json:"reported,omitempty"`
}

// Sandbox of a pod.
type Sandbox struct {
	ID      string `json:"id"`
	Attempt int    `json:"attempt"`
	// Ready: it runs and is connected to the network.
	Ready bool `json:"ready,omitempty"`
	// Unconnected: it runs, and is not connected to the network, or not known to be.
	Unconnected bool `json:"unconnected,omitempty"`
	// Resize: its cgroup has other limits than the pod has been granted.
	Resize bool `json:"resize,omitempty"`
	// Narrow: some of these limits are lower than what was granted.
	Narrow bool `json:"narrow,omitempty"`
}

// State of an attempt.
type State string

// States.
const (
	Running State = "running"
	Exited  State = "exited"
)

// Attempt is one run of a container.
type Attempt struct {
	ID      string `json:"id"`
	Attempt int    `json:"attempt"`
	// Image is what the pod's spec said when it was started, ImageID what that was.
	Image   string `json:"image,omitempty"`
	ImageID string `json:"imageID,omitempty"`
	// Current: it lives in the newest sandbox.
	Current    bool      `json:"current,omitempty"`
	State      State     `json:"state"`
	CreatedAt  time.Time `json:"createdAt,omitempty"`
	StartedAt  time.Time `json:"startedAt,omitempty"`
	FinishedAt time.Time `json:"finishedAt,omitempty"`
	ExitCode   int       `json:"exitCode,omitempty"`
	Signal     int       `json:"signal,omitempty"`
	OOMKilled  bool      `json:"oomKilled,omitempty"`
	// Reset: it belongs to the pod's life before all its containers restarted.
	Reset bool `json:"reset,omitempty"`
	// Reason and Message say why it ended, or could not start.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// BackOff is how long its successor waits after it ends; 0 for the first attempt.
	BackOff time.Duration `json:"backOff,omitempty"`
	// Resources that it runs with; nil when that is not known.
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// Ending is how far this node is with ending it; nil when it has not begun to.
	Ending *Ending `json:"ending,omitempty"`
	// HookFailed: its postStart hook failed, so it has to end.
	HookFailed bool `json:"hookFailed,omitempty"`
}

// Ending of a container.
type Ending struct {
	// Since is when its end began, with its preStop hook or its stop signal.
	Since time.Time `json:"since"`
	// PreStopped: the preStop hook is behind, however it went.
	PreStopped bool `json:"preStopped,omitempty"`
	// Signalled is when it was first sent its stop signal; zero: not yet.
	Signalled time.Time `json:"signalled,omitempty"`
}

// Task is a step in flight (Running), or the failure of its last tries.
type Task struct {
	Running bool     `json:"running,omitempty"`
	Failure *Failure `json:"failure,omitempty"`
}

// Failure of a step.
type Failure struct {
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	At      time.Time `json:"at"`
	// Tries in a row that failed.
	Tries int `json:"tries,omitempty"`
}

// Probe is what the probes of a running container say.
type Probe struct {
	Started bool `json:"started,omitempty"`
	Ready   bool `json:"ready,omitempty"`
	// Failed is "liveness" or "startup" when the container has to be killed.
	Failed string `json:"failed,omitempty"`
	// Grace of the probe that failed, in seconds; nil for the pod's.
	Grace *int64 `json:"grace,omitempty"`
}

// Verdict ends a pod as Failed.
type Verdict struct {
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
	// Grace for its containers, in seconds; nil for the pod's.
	Grace *int64 `json:"grace,omitempty"`
	// Disruption is the reason of the DisruptionTarget condition; "" for none.
	Disruption string `json:"disruption,omitempty"`
	// DisruptionMessage of that condition; "" for Message.
	DisruptionMessage string `json:"disruptionMessage,omitempty"`
	// Rejected: the node never took the pod, so there is nothing to say of its containers.
	Rejected bool `json:"rejected,omitempty"`
}

// Verb of a step.
type Verb string

// Verbs, each idempotent.
const (
	SetUpVolumes  Verb = "set-up-volumes"
	CreateSandbox Verb = "create-sandbox"
	// Connect gives a sandbox that runs its place in the network.
	Connect Verb = "connect"
	Pull    Verb = "pull"
	Start   Verb = "start"
	// PreStop runs a container's hook; Kill sends the stop signal and, when its time is over, kills.
	PreStop       Verb = "pre-stop"
	Kill          Verb = "kill"
	StopSandbox   Verb = "stop-sandbox"
	RemoveSandbox Verb = "remove-sandbox"
	TearDown      Verb = "tear-down"
	// Resize gives the pod's cgroup and its running containers the limits that the pod has been granted.
	Resize Verb = "resize"
	// Reset forgets all containers, which have ended, so that the pod begins anew in its sandbox.
	Reset Verb = "reset"
	// Delete the API object and forget the pod.
	Delete Verb = "delete"
)

// Step is one thing to do. Steps of one plan do not depend on each other.
type Step struct {
	Verb      Verb
	Container string
	// ID of the container (Kill) or sandbox.
	ID      string
	Attempt int
	// Until is when the patience of PreStop and Kill ends. A step in flight whose Until moves nearer begins again, but for the stop signal,
	// which is sent once.
	Until time.Time
	// BackOff that the started container carries for its successor.
	BackOff time.Duration
	// Why is the message of the Killing event; Because the reason to show when it ended through this.
	Why string
}

// Waiting is a reason shown for a container that does not run.
type Waiting struct{ Reason, Message string }

// Plan is what to do now.
type Plan struct {
	Steps []Step
	// Waiting by container name, only where there is more to say than ContainerCreating or PodInitializing.
	Waiting map[string]Waiting
	// Ended: no container will be started any more.
	Ended bool
	// Verdict that ended it, if it was not its containers.
	Verdict *Verdict
	// Wake is when time alone changes the decision; zero for never.
	Wake time.Time
}
