package podrefs

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// Resource is the plural of a kind, with its group unless that is the core one.
type Resource string

// Resources that pods refer to.
const (
	ServiceAccounts        Resource = "serviceaccounts"
	Secrets                Resource = "secrets"
	ConfigMaps             Resource = "configmaps"
	Endpoints              Resource = "endpoints"
	Nodes                  Resource = "nodes"
	PersistentVolumes      Resource = "persistentvolumes"
	PersistentVolumeClaims Resource = "persistentvolumeclaims"
	ResourceClaims         Resource = "resourceclaims.resource.k8s.io"
	ResourceClaimTemplates Resource = "resourceclaimtemplates.resource.k8s.io"
	ClusterTrustBundles    Resource = "clustertrustbundles.certificates.k8s.io"
	// Signers are no objects: a name of one is what a certificate is asked of.
	Signers                 Resource = "signers.certificates.k8s.io"
	CSIDrivers              Resource = "csidrivers.storage.k8s.io"
	StorageClasses          Resource = "storageclasses.storage.k8s.io"
	VolumeAttributesClasses Resource = "volumeattributesclasses.storage.k8s.io"
	PriorityClasses         Resource = "priorityclasses.scheduling.k8s.io"
	RuntimeClasses          Resource = "runtimeclasses.node.k8s.io"
	PodGroups               Resource = "podgroups.scheduling.k8s.io"
	// DataSources are objects of any kind that a volume is filled from.
	DataSources Resource = "datasources"
	// Unknown is a source of a volume that this package does not know, which could name anything.
	Unknown Resource = "unknown"
)

// Description tells whether a pod only describes itself by naming such an object: who runs the pod gets nothing of it.
func (r Resource) Description() bool {
	return r == Nodes || r == PriorityClasses || r == RuntimeClasses
}

// Ref is one object that a pod refers to. Namespaced ones are in the pod's namespace.
type Ref struct {
	Resource Resource
	// Name is "" where a field is required but empty, and for the trust bundles of a signer.
	Name string
	// Field is the path of the field, with [] for an element of a list.
	Field string
	// Read tells that who runs the pod reads the object for it, or asks for tokens of it.
	Read bool
}

// Of are the objects that a pod refers to, in its spec and its status. One may come more than once.
func Of(pod *corev1.Pod) iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		_ = ofSpec(&pod.Spec, yield) && ofContainers(&pod.Spec, yield) && ofVolumes(pod, yield) && ofClaims(pod, yield) && ofStatus(&pod.Status, yield)
	}
}

// named yields an object unless its name is empty.
func named(yield func(Ref) bool, r Resource, name, field string, read bool) bool {
	return name == "" || yield(Ref{r, name, field, read})
}

func optional(yield func(Ref) bool, r Resource, name *string, field string, read bool) bool {
	return name == nil || named(yield, r, *name, field, read)
}

func ofSpec(s *corev1.PodSpec, yield func(Ref) bool) bool {
	for i := range s.ImagePullSecrets {
		if !named(yield, Secrets, s.ImagePullSecrets[i].Name, "spec.imagePullSecrets[]", true) {
			return false
		}
	}
	if s.SchedulingGroup != nil && !optional(yield, PodGroups, s.SchedulingGroup.PodGroupName, "spec.schedulingGroup.podGroupName", false) {
		return false
	}
	return named(yield, ServiceAccounts, s.ServiceAccountName, "spec.serviceAccountName", true) &&
		named(yield, ServiceAccounts, s.DeprecatedServiceAccount, "spec.serviceAccount", false) &&
		named(yield, Nodes, s.NodeName, "spec.nodeName", false) &&
		named(yield, PriorityClasses, s.PriorityClassName, "spec.priorityClassName", false) &&
		optional(yield, RuntimeClasses, s.RuntimeClassName, "spec.runtimeClassName", false)
}

func ofContainers(s *corev1.PodSpec, yield func(Ref) bool) bool {
	for i := range s.InitContainers {
		if !ofEnvironment(s.InitContainers[i].EnvFrom, s.InitContainers[i].Env, yield) {
			return false
		}
	}
	for i := range s.Containers {
		if !ofEnvironment(s.Containers[i].EnvFrom, s.Containers[i].Env, yield) {
			return false
		}
	}
	for i := range s.EphemeralContainers {
		if !ofEnvironment(s.EphemeralContainers[i].EnvFrom, s.EphemeralContainers[i].Env, yield) {
			return false
		}
	}
	return true
}

func ofEnvironment(from []corev1.EnvFromSource, vars []corev1.EnvVar, yield func(Ref) bool) bool {
	for i := range from {
		if r := from[i].ConfigMapRef; r != nil && !named(yield, ConfigMaps, r.Name, "envFrom[].configMapRef", true) {
			return false
		}
		if r := from[i].SecretRef; r != nil && !named(yield, Secrets, r.Name, "envFrom[].secretRef", true) {
			return false
		}
	}
	for i := range vars {
		v := vars[i].ValueFrom
		if v == nil {
			continue
		}
		if r := v.ConfigMapKeyRef; r != nil && !named(yield, ConfigMaps, r.Name, "env[].valueFrom.configMapKeyRef", true) {
			return false
		}
		if r := v.SecretKeyRef; r != nil && !named(yield, Secrets, r.Name, "env[].valueFrom.secretKeyRef", true) {
			return false
		}
	}
	return true
}

func ofClaims(pod *corev1.Pod, yield func(Ref) bool) bool {
	for i := range pod.Spec.ResourceClaims {
		c := &pod.Spec.ResourceClaims[i]
		if !optional(yield, ResourceClaims, c.ResourceClaimName, "spec.resourceClaims[].resourceClaimName", true) ||
			!optional(yield, ResourceClaimTemplates, c.ResourceClaimTemplateName, "spec.resourceClaims[].resourceClaimTemplateName", false) {
			return false
		}
	}
	return true
}

func ofStatus(s *corev1.PodStatus, yield func(Ref) bool) bool {
	for i := range s.ResourceClaimStatuses { // those that were made of a template
		if !optional(yield, ResourceClaims, s.ResourceClaimStatuses[i].ResourceClaimName, "status.resourceClaimStatuses[].resourceClaimName", true) {
			return false
		}
	}
	if e := s.ExtendedResourceClaimStatus; e != nil && !named(yield, ResourceClaims, e.ResourceClaimName, "status.extendedResourceClaimStatus.resourceClaimName", true) {
		return false
	}
	for i := range s.NodeAllocatableResourceClaimStatuses { // those are named elsewhere too
		if !named(yield, ResourceClaims, s.NodeAllocatableResourceClaimStatuses[i].ResourceClaimName, "status.nodeAllocatableResourceClaimStatuses[].resourceClaimName", false) {
			return false
		}
	}
	return named(yield, Nodes, s.NominatedNodeName, "status.nominatedNodeName", false)
}
