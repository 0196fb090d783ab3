package api

import (
	"crypto/tls"
	"fmt"
	"reflect"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilnet "k8s.io/utils/net"
)

// What kinds warn of, other than pods. Each func returns texts for Warning headers; old is nil on create.

// isNil says whether an Object holds no pointer: lifted funcs pass a typed nil.
func isNil(o Object) bool { return o == nil || reflect.ValueOf(o).IsNil() }

// ipWarnings and cidrWarnings are about addresses that are not written in the usual way. What is no address at all is not
// their matter: validation refuses it.
func ipWarnings(at *field.Path, ip string) []string {
	if utilnet.ParseIPSloppy(ip) == nil {
		return nil
	}
	return validation.GetWarningsForIP(at, ip)
}

func cidrWarnings(at *field.Path, cidr string) []string {
	if _, _, err := utilnet.ParseCIDRSloppy(cidr); err != nil {
		return nil
	}
	return validation.GetWarningsForCIDR(at, cidr)
}

// labelName warns of a name that will be part of pods' names.
func labelName(name string) []string {
	if wrong := validation.IsDNS1123Label(name); len(wrong) > 0 {
		return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", wrong)}
	}
	return nil
}

func deploymentWarnings(d, old *appsv1.Deployment) []string {
	return append(nameOnCreate(d.Name, old == nil), templateWarnings(d, old, at("spec", "template"), &d.Spec.Template)...)
}

func replicaSetWarnings(r, old *appsv1.ReplicaSet) []string {
	return append(nameOnCreate(r.Name, old == nil), templateWarnings(r, old, at("spec", "template"), &r.Spec.Template)...)
}

func daemonSetWarnings(d, old *appsv1.DaemonSet) []string {
	return templateWarnings(d, old, at("spec", "template"), &d.Spec.Template)
}

func statefulSetWarnings(s, old *appsv1.StatefulSet) []string {
	w := warnings(templateWarnings(s, old, at("spec", "template"), &s.Spec.Template))
	for i := range s.Spec.VolumeClaimTemplates {
		w.claim(at("spec", "volumeClaimTemplates").Index(i), &s.Spec.VolumeClaimTemplates[i].Spec)
	}
	if n := s.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		w.add(at("spec", "revisionHistoryLimit"), "a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return w
}

func replicationControllerWarnings(r, old *corev1.ReplicationController) []string {
	if r.Spec.Template == nil {
		return nil
	}
	return append(nameOnCreate(r.Name, old == nil), templateWarnings(r, old, at("spec", "template"), r.Spec.Template)...)
}

func podTemplateKindWarnings(t, old *corev1.PodTemplate) []string {
	return templateWarnings(t, old, at("template"), &t.Template)
}

func jobWarnings(j, old *batchv1.Job) []string {
	return append(nameOnCreate(j.Name, old == nil), jobSpecWarnings(j, old, at("spec"), &j.Spec)...)
}

func cronJobWarnings(c, old *batchv1.CronJob) []string {
	w := append(nameOnCreate(c.Name, old == nil), jobSpecWarnings(c, old, at("spec", "jobTemplate", "spec"), &c.Spec.JobTemplate.Spec)...)
	if old != nil && strings.Contains(c.Spec.Schedule, "TZ") {
		w = append(w, "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details")
	}
	return w
}

func jobSpecWarnings(obj, old Object, at *field.Path, s *batchv1.JobSpec) []string {
	var w warnings
	if s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion {
		if deref(s.Completions) > 100_000 && deref(s.Parallelism) > 10_000 {
			w.add(at, "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail")
		}
	}
	return append(w, templateWarnings(obj, old, at.Child("template"), &s.Template)...)
}

func nameOnCreate(name string, create bool) []string {
	if create {
		return labelName(name)
	}
	return nil
}

func ingressWarnings(i, old *networkingv1.Ingress) []string {
	const class = "kubernetes.io/ingress.class"
	if _, ok := i.Annotations[class]; !ok || i.Spec.IngressClassName != nil || old != nil {
		return nil
	}
	return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", class)}
}

func networkPolicyWarnings(p, _ *networkingv1.NetworkPolicy) (texts []string) {
	block := func(at *field.Path, b *networkingv1.IPBlock) {
		if b == nil {
			return
		}
		texts = append(texts, cidrWarnings(at.Child("cidr"), b.CIDR)...)
		for i, e := range b.Except {
			texts = append(texts, cidrWarnings(at.Child("except").Index(i), e)...)
		}
	}
	for i, r := range p.Spec.Ingress {
		for j, peer := range r.From {
			block(at("spec", "ingress").Index(i).Child("from").Index(j).Child("ipBlock"), peer.IPBlock)
		}
	}
	for i, r := range p.Spec.Egress {
		for j, peer := range r.To {
			block(at("spec", "egress").Index(i).Child("to").Index(j).Child("ipBlock"), peer.IPBlock)
		}
	}
	return texts
}

func secretWarnings(s, _ *corev1.Secret) []string {
	if s.Type == corev1.SecretTypeTLS {
		if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
			return []string{err.Error()}
		}
	}
	return nil
}

func serviceAccountWarnings(s, old *corev1.ServiceAccount) []string {
	const mountable = "kubernetes.io/enforce-mountable-secrets"
	if old != nil {
		if _, had := old.Annotations[mountable]; had {
			return nil
		}
	}
	if _, ok := s.Annotations[mountable]; !ok {
		return nil
	}
	return []string{fmt.Sprintf("metadata.annotations[%s]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets", mountable)}
}

func nodeWarnings(n, _ *corev1.Node) (texts []string) {
	if n.Spec.ConfigSource != nil {
		texts = append(texts, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" { //nolint:staticcheck // that is what the warning is about
		texts = append(texts, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, c := range n.Spec.PodCIDRs {
		texts = append(texts, cidrWarnings(at("spec", "podCIDRs").Index(i), c)...)
	}
	return texts
}

func resourceQuotaWarnings(q, old *corev1.ResourceQuota) (texts []string) {
	if old != nil {
		return nil
	}
	hard := q.Spec.Hard
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		requestName, limitName := "requests."+name, "limits."+name
		request, ok := hard[requestName]
		if !ok && name != corev1.ResourceEphemeralStorage {
			requestName = name
			request, ok = hard[name]
		}
		if limit, limited := hard[limitName]; ok && limited && request.Cmp(limit) > 0 {
			texts = append(texts, fmt.Sprintf("ResourceQuota %s (%s) should be less than %s (%s)", requestName, request.String(), limitName, limit.String()))
		}
	}
	return texts
}

const (
	oldStorageClass = "volume.beta.kubernetes.io/storage-class"
	oldMountOptions = "volume.beta.kubernetes.io/mount-options"
	useStorageClass = `deprecated since v1.8; use "storageClassName" attribute instead`
)

func persistentVolumeWarnings(v, _ *corev1.PersistentVolume) []string {
	var w warnings
	annotations, spec := at("metadata", "annotations"), at("spec")
	if _, ok := v.Annotations[oldStorageClass]; ok {
		w.add(annotations.Key(oldStorageClass), useStorageClass)
	}
	if _, ok := v.Annotations[oldMountOptions]; ok {
		w.add(annotations.Key(oldMountOptions), `deprecated since v1.31; use "mountOptions" attribute instead`)
	}
	if v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		w.add(spec.Child("persistentVolumeReclaimPolicy"), "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	if a := v.Spec.NodeAffinity; a != nil && a.Required != nil {
		for i, t := range a.Required.NodeSelectorTerms {
			w.nodeTerm(spec.Child("nodeAffinity", "required", "nodeSelectorTerms").Index(i), t, false)
		}
	}
	for _, old := range []struct {
		name, text string
		set        bool
	}{
		{"cephfs", "deprecated in v1.28, non-functional in v1.31+", v.Spec.CephFS != nil},
		{"photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+", v.Spec.PhotonPersistentDisk != nil},
		{"scaleIO", "deprecated in v1.16, non-functional in v1.22+", v.Spec.ScaleIO != nil},
		{"storageOS", "deprecated in v1.22, non-functional in v1.25+", v.Spec.StorageOS != nil},
		{"glusterfs", "deprecated in v1.25, non-functional in v1.26+", v.Spec.Glusterfs != nil},
		{"rbd", "deprecated in v1.28, non-functional in v1.31+", v.Spec.RBD != nil},
	} {
		if old.set {
			w.add(spec.Child(old.name), "%s", old.text)
		}
	}
	return w
}

func persistentVolumeClaimWarnings(c, _ *corev1.PersistentVolumeClaim) []string {
	var w warnings
	if _, ok := c.Annotations[oldStorageClass]; ok {
		w.add(at("metadata", "annotations").Key(oldStorageClass), useStorageClass)
	}
	w.claim(at("spec"), &c.Spec)
	return w
}

func runtimeClassWarnings(r, _ *nodev1.RuntimeClass) (texts []string) {
	if r.Scheduling == nil {
		return nil
	}
	for _, k := range sortedKeys(r.Scheduling.NodeSelector) {
		texts = append(texts, oldNodeLabelWarning(at("scheduling", "nodeSelector"), k)...)
	}
	return texts
}

func resourceSliceWarnings(r, old *resourcev1.ResourceSlice) []string {
	if old != nil || r.Spec.Driver == strings.ToLower(r.Spec.Driver) {
		return nil
	}
	return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", r.Spec.Driver)}
}

func endpointsWarnings(e, _ *corev1.Endpoints) (texts []string) {
	if e.Labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" {
		return nil
	}
	for i, s := range e.Subsets {
		for j, a := range s.Addresses {
			texts = append(texts, ipWarnings(at("subsets").Index(i).Child("addresses").Index(j).Child("ip"), a.IP)...)
		}
		for j, a := range s.NotReadyAddresses {
			texts = append(texts, ipWarnings(at("subsets").Index(i).Child("notReadyAddresses").Index(j).Child("ip"), a.IP)...)
		}
	}
	return texts
}

func endpointSliceWarnings(s, _ *discoveryv1.EndpointSlice) (texts []string) {
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		return []string{fmt.Sprintf("%s: FQDN endpoints are deprecated", at("spec", "addressType"))}
	}
	if by := s.Labels[discoveryv1.LabelManagedBy]; by == "endpointslice-controller.k8s.io" || by == "endpointslicemirroring-controller.k8s.io" {
		return nil
	}
	for i, e := range s.Endpoints {
		for j, a := range e.Addresses {
			texts = append(texts, ipWarnings(at("endpoints").Index(i).Child("addresses").Index(j), a)...)
		}
	}
	return texts
}

func serviceWarnings(s, _ *corev1.Service) (texts []string) {
	const hints = "service.kubernetes.io/topology-aware-hints"
	if _, ok := s.Annotations[hints]; ok {
		texts = append(texts, fmt.Sprintf("annotation %s is deprecated, please use %s instead", hints, corev1.AnnotationTopologyMode))
	}
	spec, external := &s.Spec, s.Spec.Type == corev1.ServiceTypeExternalName
	headless := spec.Type == corev1.ServiceTypeClusterIP && spec.ClusterIP == corev1.ClusterIPNone
	if !headless {
		for i, ip := range spec.ClusterIPs {
			texts = append(texts, ipWarnings(at("spec", "clusterIPs").Index(i), ip)...)
		}
	}
	if headless {
		for _, ignored := range []struct {
			name string
			set  bool
		}{{"loadBalancerIP", spec.LoadBalancerIP != ""}, {"externalIPs", len(spec.ExternalIPs) > 0}, {"SessionAffinity", spec.SessionAffinity != "" && spec.SessionAffinity != corev1.ServiceAffinityNone}} {
			if ignored.set {
				texts = append(texts, "spec."+ignored.name+" is ignored for headless services")
			}
		}
	}
	for i, ip := range spec.ExternalIPs {
		texts = append(texts, ipWarnings(at("spec", "externalIPs").Index(i), ip)...)
	}
	switch {
	case len(spec.ExternalIPs) == 0 || headless:
	case external:
		texts = append(texts, fmt.Sprintf("spec.externalIPs is ignored when spec.type is %q", corev1.ServiceTypeExternalName))
	default:
		texts = append(texts, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	}
	texts = append(texts, ipWarnings(at("spec", "loadBalancerIP"), spec.LoadBalancerIP)...)
	for i, cidr := range spec.LoadBalancerSourceRanges {
		texts = append(texts, cidrWarnings(at("spec", "loadBalancerSourceRanges").Index(i), cidr)...)
	}
	if !external && spec.ExternalName != "" {
		texts = append(texts, fmt.Sprintf("spec.externalName is ignored when spec.type is not %q", corev1.ServiceTypeExternalName))
	}
	if deref(spec.TrafficDistribution) == corev1.ServiceTrafficDistributionPreferClose {
		texts = append(texts, fmt.Sprintf("spec.trafficDistribution: %q is deprecated; use %q", corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone))
	}
	return texts
}
