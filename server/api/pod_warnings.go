package api

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// warnings collects what works, but not as its author may think.
type warnings []string

func (w *warnings) add(at *field.Path, format string, args ...any) {
	*w = append(*w, fmt.Sprintf("%s: "+format, append([]any{at}, args...)...))
}

// whole warns of a number of bytes that is no whole number.
func (w *warnings) whole(at *field.Path, list corev1.ResourceList, names ...corev1.ResourceName) {
	for _, n := range names {
		if q, ok := list[n]; ok && q.MilliValue()%1000 != 0 {
			w.add(at.Key(string(n)), "fractional byte value %q is invalid, must be an integer", q.String())
		}
	}
}

func (w *warnings) nodeTerm(at *field.Path, t corev1.NodeSelectorTerm, values bool) {
	for i, e := range t.MatchExpressions {
		path := at.Child("matchExpressions").Index(i)
		if text := oldNodeLabels[e.Key]; text != "" {
			w.add(path.Child("key"), "%s is %s", e.Key, text)
		}
		for j, v := range e.Values {
			if wrong := validation.IsValidLabelValue(v); values && len(wrong) > 0 {
				w.add(path.Child("values").Index(j), "%s is invalid, %s", v, strings.Join(wrong, ","))
			}
		}
	}
}

// podWarnings come once: who updates a pod is seldom a person.
func podWarnings(p, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	var texts []string
	if wrong := validation.IsDNS1123Label(p.Name); len(wrong) > 0 {
		texts = append(texts, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", wrong))
	}
	return append(texts, podTemplateWarnings(nil, &p.ObjectMeta, &p.Spec)...)
}

// templateWarnings are those of a pod template in an object whose generation counts its changes.
func templateWarnings(obj, old Object, at *field.Path, t *corev1.PodTemplateSpec) []string {
	if before, ok := old.(metav1.Object); ok && !isNil(old) && before.GetGeneration() == obj.GetGeneration() {
		return nil
	}
	return podTemplateWarnings(at, &t.ObjectMeta, &t.Spec)
}

func podTemplateWarnings(at *field.Path, meta *metav1.ObjectMeta, s *corev1.PodSpec) []string {
	var w warnings
	spec := at.Child("spec")
	w.podPlace(spec, s)
	for _, key := range []string{"scheduler.alpha.kubernetes.io/critical-pod", "security.alpha.kubernetes.io/sysctls", "security.alpha.kubernetes.io/unsafe-sysctls"} {
		if _, ok := meta.Annotations[key]; ok {
			w.add(at.Child("metadata", "annotations").Key(key), "%s", oldPodAnnotations[key])
		}
	}
	for i := range s.Volumes {
		w.volume(spec.Child("volumes").Index(i), &s.Volumes[i])
	}
	w.podLists(spec, s)
	w.whole(spec.Child("overhead"), s.Overhead, corev1.ResourceMemory, corev1.ResourceEphemeralStorage)
	w.seccomp(at.Child("metadata", "annotations"), meta, s)
	w.containers(spec, s)
	if g := s.TerminationGracePeriodSeconds; g != nil && *g < 0 {
		w.add(spec.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	w.podAffinity(spec.Child("affinity"), s.Affinity)
	if s.DNSConfig != nil {
		for i, ip := range s.DNSConfig.Nameservers {
			w = append(w, ipWarnings(spec.Child("dnsConfig", "nameservers").Index(i), ip)...)
		}
	}
	return w
}

var oldPodAnnotations = map[string]string{
	"scheduler.alpha.kubernetes.io/critical-pod":  `non-functional in v1.16+; use the "priorityClassName" field instead`,
	"security.alpha.kubernetes.io/sysctls":        `non-functional in v1.11+; use the "sysctls" field instead`,
	"security.alpha.kubernetes.io/unsafe-sysctls": `non-functional in v1.11+; use the "sysctls" field instead`,
}

func (w *warnings) podPlace(spec *field.Path, s *corev1.PodSpec) {
	for _, key := range sortedKeys(s.NodeSelector) {
		if text := oldNodeLabels[key]; text != "" {
			w.add(spec.Child("nodeSelector").Key(key), "%s", text)
		}
	}
	if s.Affinity != nil && s.Affinity.NodeAffinity != nil {
		a, path := s.Affinity.NodeAffinity, spec.Child("affinity", "nodeAffinity")
		if r := a.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
			for i, t := range r.NodeSelectorTerms {
				w.nodeTerm(path.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms").Index(i), t, false)
			}
		}
		for i, t := range a.PreferredDuringSchedulingIgnoredDuringExecution {
			w.nodeTerm(path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference"), t.Preference, true)
		}
	}
	for i, t := range s.TopologySpreadConstraints {
		path := spec.Child("topologySpreadConstraints").Index(i)
		if text := oldNodeLabels[t.TopologyKey]; text != "" {
			w.add(path.Child("topologyKey"), "%s is %s", t.TopologyKey, text)
		}
		if t.LabelSelector == nil {
			w.add(path.Child("labelSelector"), nullSelector)
		}
	}
}

const nullSelector = "a null labelSelector results in matching no pod"

func (w *warnings) podAffinity(at *field.Path, a *corev1.Affinity) {
	if a == nil {
		return
	}
	terms := func(at *field.Path, required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i, t := range required {
			if t.LabelSelector == nil {
				w.add(at.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i).Child("labelSelector"), nullSelector)
			}
		}
		for i, t := range preferred {
			if t.PodAffinityTerm.LabelSelector == nil {
				w.add(at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm", "labelSelector"), nullSelector)
			}
		}
	}
	if p := a.PodAffinity; p != nil {
		terms(at.Child("podAffinity"), p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		terms(at.Child("podAntiAffinity"), p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func (w *warnings) volume(at *field.Path, v *corev1.Volume) {
	for _, old := range []struct {
		name, text string
		set        bool
	}{
		{"photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+", v.PhotonPersistentDisk != nil},
		{"gitRepo", "deprecated in v1.11, and disabled by default in v1.33+", v.GitRepo != nil},
		{"scaleIO", "deprecated in v1.16, non-functional in v1.22+", v.ScaleIO != nil},
		{"flocker", "deprecated in v1.22, non-functional in v1.25+", v.Flocker != nil},
		{"storageOS", "deprecated in v1.22, non-functional in v1.25+", v.StorageOS != nil},
		{"quobyte", "deprecated in v1.22, non-functional in v1.25+", v.Quobyte != nil},
		{"glusterfs", "deprecated in v1.25, non-functional in v1.26+", v.Glusterfs != nil},
		{"cephfs", "deprecated in v1.28, non-functional in v1.31+", v.CephFS != nil},
		{"rbd", "deprecated in v1.28, non-functional in v1.31+", v.RBD != nil},
	} {
		if old.set {
			w.add(at.Child(old.name), "%s", old.text)
		}
	}
	if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
		w.claim(at.Child("ephemeral", "volumeClaimTemplate", "spec"), &v.Ephemeral.VolumeClaimTemplate.Spec)
	}
}

func (w *warnings) claim(at *field.Path, s *corev1.PersistentVolumeClaimSpec) {
	w.whole(at.Child("resources", "requests"), s.Resources.Requests, corev1.ResourceStorage)
	w.whole(at.Child("resources", "limits"), s.Resources.Limits, corev1.ResourceStorage)
}

func (w *warnings) podLists(spec *field.Path, s *corev1.PodSpec) {
	addresses, secrets := map[string]bool{}, map[string]bool{}
	for i, a := range s.HostAliases {
		path := spec.Child("hostAliases").Index(i).Child("ip")
		if addresses[a.IP] {
			w.add(path, "duplicate ip %q", a.IP)
		}
		addresses[a.IP] = true
		*w = append(*w, ipWarnings(path, a.IP)...)
	}
	for i, r := range s.ImagePullSecrets {
		path := spec.Child("imagePullSecrets").Index(i).Child("name")
		if secrets[r.Name] {
			w.add(path, "duplicate name %q", r.Name)
		}
		if secrets[r.Name] = true; r.Name == "" {
			w.add(path, "invalid empty name %q", r.Name)
		}
	}
}

// seccomp: profiles named by annotations do nothing any more.
func (w *warnings) seccomp(at *field.Path, meta *metav1.ObjectMeta, s *corev1.PodSpec) {
	const words = `non-functional in v1.27+; use the "seccompProfile" field instead`
	if _, ok := meta.Annotations[corev1.SeccompPodAnnotationKey]; ok && (s.SecurityContext == nil || s.SecurityContext.SeccompProfile == nil) {
		w.add(at.Key(corev1.SeccompPodAnnotationKey), words)
	}
	for _, ct := range slices.Concat(s.InitContainers, s.Containers) {
		key := corev1.SeccompContainerAnnotationKeyPrefix + ct.Name
		if _, ok := meta.Annotations[key]; ok && (ct.SecurityContext == nil || ct.SecurityContext.SeccompProfile == nil) {
			w.add(at.Key(key), words)
		}
	}
}

// placedPort is a port and where it stands.
type placedPort struct {
	at   *field.Path
	port corev1.ContainerPort
}

func (w *warnings) containers(spec *field.Path, s *corev1.PodSpec) {
	ports, names := map[string][]placedPort{}, map[string]*field.Path{}
	visit := func(at *field.Path, list []corev1.Container) {
		for i := range list {
			ct, path := &list[i], at.Index(i)
			w.whole(path.Child("resources", "limits"), ct.Resources.Limits, corev1.ResourceMemory, corev1.ResourceEphemeralStorage)
			w.whole(path.Child("resources", "requests"), ct.Resources.Requests, corev1.ResourceMemory, corev1.ResourceEphemeralStorage)
			w.env(path.Child("env"), ct.Env)
			for j, p := range ct.Ports {
				w.port(placedPort{path.Child("ports").Index(j), p}, ports, names)
			}
		}
	}
	visit(spec.Child("initContainers"), s.InitContainers)
	visit(spec.Child("containers"), s.Containers)
}

// env warns of a variable that comes twice, unless the second is made of the first.
func (w *warnings) env(at *field.Path, list []corev1.EnvVar) {
	seen := map[string]bool{}
	for i, e := range list {
		ref := "$(" + e.Name + ")"
		if seen[e.Name] && (e.ValueFrom != nil || e.Value == ref || !strings.Contains(e.Value, ref)) {
			w.add(at.Index(i), "hides previous definition of %q, which may be dropped when using apply", e.Name)
		}
		seen[e.Name] = true
	}
}

func (w *warnings) port(p placedPort, ports map[string][]placedPort, names map[string]*field.Path) {
	if p.port.HostIP != "" && p.port.HostPort == 0 {
		w.add(p.at, "hostIP set without hostPort: %+v", p.port)
	}
	key := fmt.Sprintf("%d/%s", p.port.ContainerPort, p.port.Protocol)
	for _, other := range ports[key] {
		o := other.port
		switch sameHost := p.port.HostPort == o.HostPort; {
		case sameHost && p.port.HostIP == o.HostIP:
			w.add(p.at, "duplicate port definition with %s", other.at)
		case p.port.HostPort == 0 || o.HostPort == 0:
			w.add(p.at, "overlapping port definition with %s", other.at)
		case sameHost && (p.port.HostIP == "") != (o.HostIP == ""):
			w.add(p.at, "dangerously ambiguous port definition with %s", other.at)
		}
	}
	ports[key] = append(ports[key], p)
	if p.port.Name == "" {
		return
	}
	if first := names[p.port.Name]; first != nil {
		w.add(p.at, "duplicate port name %q with %s, services and probes that select ports by name will use %s", p.port.Name, first, first)
	} else {
		names[p.port.Name] = p.at
	}
}
