package api

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podContext is what the checks of a container need to know of its pod.
type podContext struct {
	spec    *corev1.PodSpec
	volumes map[string]*corev1.Volume
	claims  map[string]bool
	names   once
	isPod   bool
}

// containers checks all containers of a pod; names are unique over all three lists.
func (c *check) containers(at *field.Path, p *podContext) {
	s := p.spec
	if len(s.Containers) == 0 {
		c.required(at.Child("containers"), "")
	}
	hostPorts := once{}
	for i := range s.Containers {
		path := at.Child("containers").Index(i)
		c.container(path, &s.Containers[i], p)
		c.lifecycle(path, &s.Containers[i], s.TerminationGracePeriodSeconds)
		c.hostPorts(path, s.Containers[i].Ports, hostPorts)
	}
	for i := range s.InitContainers {
		ct, path := &s.InitContainers[i], at.Child("initContainers").Index(i)
		c.container(path, ct, p)
		if isSidecar(ct) {
			c.lifecycle(path, ct, s.TerminationGracePeriodSeconds)
			c.hostPorts(path, ct.Ports, hostPorts)
			continue
		}
		c.mayNotBeSet(path, "may not be set for init containers without restartPolicy=Always", map[string]bool{
			"lifecycle": ct.Lifecycle != nil, "livenessProbe": ct.LivenessProbe != nil,
			"readinessProbe": ct.ReadinessProbe != nil, "startupProbe": ct.StartupProbe != nil,
		})
		// Init containers run one after another, so each may use any port for itself.
		c.hostPorts(path, ct.Ports, once{})
	}
	for i := range s.EphemeralContainers {
		c.ephemeralContainer(at.Child("ephemeralContainers").Index(i), &s.EphemeralContainers[i], p)
	}
}

func (c *check) container(at *field.Path, ct *corev1.Container, p *podContext) {
	if c.needs(at.Child("name"), ct.Name) {
		c.invalid(at.Child("name"), ct.Name, validation.IsDNS1123Label(ct.Name)...)
		p.names.add(c, at.Child("name"), ct.Name)
	}
	c.needs(at.Child("image"), ct.Image)
	if p.isPod && strings.TrimSpace(ct.Image) != ct.Image {
		c.invalid(at.Child("image"), ct.Image, "must not have leading or trailing whitespace")
	}
	oneOf(c, at.Child("terminationMessagePolicy"), ct.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)
	oneOf(c, at.Child("imagePullPolicy"), ct.ImagePullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
	c.containerPorts(at.Child("ports"), ct.Ports, p.spec.HostNetwork, p.isPod)
	c.env(at.Child("env"), ct.Env)
	c.envFrom(at.Child("envFrom"), ct.EnvFrom)
	c.mounts(at, ct, p.volumes)
	c.requirements(at.Child("resources"), &ct.Resources, false, p.claims)
	c.resizePolicy(at.Child("resizePolicy"), ct, p.spec.RestartPolicy)
	c.restartRules(at, ct)
	hostUsers := p.spec.HostUsers == nil || *p.spec.HostUsers
	c.securityContext(at.Child("securityContext"), ct.SecurityContext, hostUsers)
}

func (c *check) lifecycle(at *field.Path, ct *corev1.Container, grace *int64) {
	if l := ct.Lifecycle; l != nil {
		c.hook(at.Child("lifecycle", "postStart"), l.PostStart, grace)
		c.hook(at.Child("lifecycle", "preStop"), l.PreStop, grace)
	}
	c.probe(at.Child("livenessProbe"), ct.LivenessProbe, true)
	c.probe(at.Child("readinessProbe"), ct.ReadinessProbe, false)
	c.probe(at.Child("startupProbe"), ct.StartupProbe, true)
	if p := ct.ReadinessProbe; p != nil && p.TerminationGracePeriodSeconds != nil {
		c.invalid(at.Child("readinessProbe", "terminationGracePeriodSeconds"), *p.TerminationGracePeriodSeconds, "must not be set for readinessProbes")
	}
}

func (c *check) hook(at *field.Path, h *corev1.LifecycleHandler, grace *int64) {
	if h == nil {
		return
	}
	if c.onlyOne(at, *h, "handler type") == 0 {
		c.required(at, "must specify a handler type")
	}
	c.handler(at, h.Exec, h.HTTPGet, h.TCPSocket)
	if h.Sleep != nil && grace != nil && (h.Sleep.Seconds < 0 || h.Sleep.Seconds > *grace) {
		c.invalid(at.Child("sleep"), h.Sleep.Seconds,
			fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *grace))
	}
}

// probe; one that kills succeeds the first time it succeeds.
func (c *check) probe(at *field.Path, p *corev1.Probe, kills bool) {
	if p == nil {
		return
	}
	if c.onlyOne(at, p.ProbeHandler, "handler type") == 0 {
		c.required(at, "must specify a handler type")
	}
	c.handler(at, p.Exec, p.HTTPGet, p.TCPSocket)
	if p.GRPC != nil {
		c.invalid(at.Child("grpc", "port"), p.GRPC.Port, validation.IsValidPortNum(int(p.GRPC.Port))...)
	}
	c.counts(at, map[string]*int32{
		"initialDelaySeconds": &p.InitialDelaySeconds, "timeoutSeconds": &p.TimeoutSeconds, "periodSeconds": &p.PeriodSeconds,
		"successThreshold": &p.SuccessThreshold, "failureThreshold": &p.FailureThreshold,
	})
	if kills && p.SuccessThreshold != 1 {
		c.invalid(at.Child("successThreshold"), p.SuccessThreshold, "must be 1")
	}
	if kills && p.TerminationGracePeriodSeconds != nil && *p.TerminationGracePeriodSeconds <= 0 {
		c.invalid(at.Child("terminationGracePeriodSeconds"), *p.TerminationGracePeriodSeconds, "must be greater than 0")
	}
}

func (c *check) handler(at *field.Path, exec *corev1.ExecAction, http *corev1.HTTPGetAction, tcp *corev1.TCPSocketAction) {
	if exec != nil && len(exec.Command) == 0 {
		c.required(at.Child("exec", "command"), "")
	}
	if http != nil {
		path := at.Child("httpGet")
		c.needs(path.Child("path"), http.Path)
		c.portOrName(path.Child("port"), http.Port)
		oneOf(c, path.Child("scheme"), http.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)
		for _, h := range http.HTTPHeaders {
			c.invalid(path.Child("httpHeaders"), h.Name, validation.IsHTTPHeaderName(h.Name)...)
		}
	}
	if tcp != nil {
		c.portOrName(at.Child("tcpSocket", "port"), tcp.Port)
	}
}

func (c *check) containerPorts(at *field.Path, ports []corev1.ContainerPort, hostNetwork, isPod bool) {
	names := once{}
	for i, p := range ports {
		path := at.Index(i)
		if p.Name != "" {
			if msgs := validation.IsValidPortName(p.Name); len(msgs) > 0 {
				c.invalid(path.Child("name"), p.Name, msgs...)
			} else {
				names.add(c, path.Child("name"), p.Name)
			}
		}
		if p.ContainerPort == 0 {
			c.required(path.Child("containerPort"), "")
		} else {
			c.invalid(path.Child("containerPort"), p.ContainerPort, validation.IsValidPortNum(int(p.ContainerPort))...)
		}
		if p.HostPort != 0 {
			c.invalid(path.Child("hostPort"), p.HostPort, validation.IsValidPortNum(int(p.HostPort))...)
		}
		if hostNetwork && (isPod || p.HostPort != 0) && p.HostPort != p.ContainerPort {
			c.invalid(path.Child("hostPort"), p.HostPort, "must match `containerPort` when `hostNetwork` is true")
		}
		if p.HostIP != "" {
			c.ip(path.Child("hostIP"), p.HostIP)
		}
		oneOf(c, path.Child("protocol"), p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
	}
}

// hostPorts: no two containers that run at a time may have the same one.
func (c *check) hostPorts(at *field.Path, ports []corev1.ContainerPort, taken once) {
	for i, p := range ports {
		if p.HostPort != 0 {
			taken.add(c, at.Child("ports").Index(i).Child("hostPort"), fmt.Sprintf("%s/%s/%d", p.Protocol, p.HostIP, p.HostPort))
		}
	}
}

func (c *check) resizePolicy(at *field.Path, ct *corev1.Container, pod corev1.RestartPolicy) {
	seen := once{}
	for i, p := range ct.ResizePolicy {
		seen.add(c, at.Index(i), string(p.ResourceName))
		oneOf(c, at, p.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)
		oneOf(c, at, p.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)
		if pod == corev1.RestartPolicyNever && p.RestartPolicy == corev1.RestartContainer {
			c.invalid(at, p.RestartPolicy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")
		}
	}
}

func (c *check) restartRules(at *field.Path, ct *corev1.Container) {
	if ct.RestartPolicy == nil {
		if len(ct.RestartPolicyRules) > 0 {
			c.required(at.Child("restartPolicy"), "must specify restartPolicy when restart rules are used")
		}
		return
	}
	oneOf(c, at.Child("restartPolicy"), *ct.RestartPolicy, corev1.ContainerRestartPolicyAlways,
		corev1.ContainerRestartPolicyOnFailure, corev1.ContainerRestartPolicyNever)
	for i, r := range ct.RestartPolicyRules {
		path := at.Child("restartPolicyRules").Index(i)
		oneOf(c, path.Child("action"), r.Action, corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)
		if r.ExitCodes == nil {
			c.required(path.Child("exitCodes"), "must be specified")
			continue
		}
		oneOf(c, path.Child("exitCodes", "operator"), r.ExitCodes.Operator,
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)
	}
}

// ephemeralContainer: a guest in a pod that runs; it has no ports, probes, resources or life cycle.
func (c *check) ephemeralContainer(at *field.Path, e *corev1.EphemeralContainer, p *podContext) {
	ct := (*corev1.Container)(&e.EphemeralContainerCommon)
	c.container(at, ct, p)
	c.mayNotBeSet(at, "cannot be set for an Ephemeral Container", map[string]bool{
		"ports": len(ct.Ports) > 0, "resources": len(ct.Resources.Limits)+len(ct.Resources.Requests) > 0,
		"resizePolicy": len(ct.ResizePolicy) > 0, "livenessProbe": ct.LivenessProbe != nil, "readinessProbe": ct.ReadinessProbe != nil,
		"startupProbe": ct.StartupProbe != nil, "lifecycle": ct.Lifecycle != nil, "restartPolicy": ct.RestartPolicy != nil,
	})
	for i, m := range ct.VolumeMounts {
		if m.SubPath != "" {
			c.forbidden(at.Child("volumeMounts").Index(i).Child("subPath"), "cannot be set for an Ephemeral Container")
		}
	}
	if t := e.TargetContainerName; t != "" {
		for _, cs := range [][]corev1.Container{p.spec.Containers, p.spec.InitContainers} {
			for i := range cs {
				if cs[i].Name == t {
					return
				}
			}
		}
		c.add(field.NotFound(at.Child("targetContainerName"), t))
	}
}
