package api

import (
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
)

func validateCSR(obj *certificatesv1.CertificateSigningRequest) fieldErrors            { return nil }
func validateClaim(obj *corev1.PersistentVolumeClaim) fieldErrors                      { return nil }
func validateClaimUpdate(obj, old *corev1.PersistentVolumeClaim) fieldErrors           { return nil }
func validateClusterRole(obj *rbacv1.ClusterRole) fieldErrors                          { return nil }
func validateClusterRoleBinding(obj *rbacv1.ClusterRoleBinding) fieldErrors            { return nil }
func validateClusterRoleBindingUpdate(obj, old *rbacv1.ClusterRoleBinding) fieldErrors { return nil }
func validateConfigMap(obj *corev1.ConfigMap) fieldErrors                              { return nil }
func validateConfigMapUpdate(obj, old *corev1.ConfigMap) fieldErrors                   { return nil }
func validateControllerRevision(obj *appsv1.ControllerRevision) fieldErrors            { return nil }
func validateControllerRevisionUpdate(obj, old *appsv1.ControllerRevision) fieldErrors { return nil }
func validateCronJob(obj *batchv1.CronJob) fieldErrors                                 { return nil }
func validateCronJobUpdate(obj, old *batchv1.CronJob) fieldErrors                      { return nil }
func validateDaemonSet(obj *appsv1.DaemonSet) fieldErrors                              { return nil }
func validateDaemonSetUpdate(obj, old *appsv1.DaemonSet) fieldErrors                   { return nil }
func validateDeployment(obj *appsv1.Deployment) fieldErrors                            { return nil }
func validateDeploymentStatus(obj, old *appsv1.Deployment) fieldErrors                 { return nil }
func validateDeploymentUpdate(obj, old *appsv1.Deployment) fieldErrors                 { return nil }
func validateEndpointSlice(obj *discoveryv1.EndpointSlice) fieldErrors                 { return nil }
func validateEndpointSliceUpdate(obj, old *discoveryv1.EndpointSlice) fieldErrors      { return nil }
func validateEndpoints(obj *corev1.Endpoints) fieldErrors                              { return nil }
func validateEvent(obj *corev1.Event) fieldErrors                                      { return nil }
func validateEventUpdate(obj, old *corev1.Event) fieldErrors                           { return nil }
func validateHPA(obj *autoscalingv2.HorizontalPodAutoscaler) fieldErrors               { return nil }
func validateIngress(obj *networkingv1.Ingress) fieldErrors                            { return nil }
func validateIngressClass(obj *networkingv1.IngressClass) fieldErrors                  { return nil }
func validateIngressClassUpdate(obj, old *networkingv1.IngressClass) fieldErrors       { return nil }
func validateJob(obj *batchv1.Job) fieldErrors                                         { return nil }
func validateJobStatus(obj, old *batchv1.Job) fieldErrors                              { return nil }
func validateJobUpdate(obj, old *batchv1.Job) fieldErrors                              { return nil }
func validateLease(obj *coordinationv1.Lease) fieldErrors                              { return nil }
func validateLeaseUpdate(obj, old *coordinationv1.Lease) fieldErrors                   { return nil }
func validateLimitRange(obj *corev1.LimitRange) fieldErrors                            { return nil }
func validateNamespace(obj *corev1.Namespace) fieldErrors                              { return nil }
func validateNamespaceStatus(obj, old *corev1.Namespace) fieldErrors                   { return nil }
func validateNamespaceUpdate(obj, old *corev1.Namespace) fieldErrors                   { return nil }
func validateNetworkPolicy(obj *networkingv1.NetworkPolicy) fieldErrors                { return nil }
func validateNode(obj *corev1.Node) fieldErrors                                        { return nil }
func validateNodeStatus(obj, old *corev1.Node) fieldErrors                             { return nil }
func validateNodeUpdate(obj, old *corev1.Node) fieldErrors                             { return nil }
func validatePersistentVolume(obj *corev1.PersistentVolume) fieldErrors                { return nil }
func validatePersistentVolumeUpdate(obj, old *corev1.PersistentVolume) fieldErrors     { return nil }
func validatePodDisruptionBudget(obj *policyv1.PodDisruptionBudget) fieldErrors        { return nil }
func validatePodDisruptionBudgetStatus(obj, old *policyv1.PodDisruptionBudget) fieldErrors {
	return nil
}
func validatePodTemplate(obj *corev1.PodTemplate) fieldErrors                      { return nil }
func validatePodTemplateUpdate(obj, old *corev1.PodTemplate) fieldErrors           { return nil }
func validatePriorityClass(obj *schedulingv1.PriorityClass) fieldErrors            { return nil }
func validatePriorityClassUpdate(obj, old *schedulingv1.PriorityClass) fieldErrors { return nil }
func validateReplicaSet(obj *appsv1.ReplicaSet) fieldErrors                        { return nil }
func validateReplicaSetStatus(obj, old *appsv1.ReplicaSet) fieldErrors             { return nil }
func validateReplicaSetUpdate(obj, old *appsv1.ReplicaSet) fieldErrors             { return nil }
func validateReplicationController(obj *corev1.ReplicationController) fieldErrors  { return nil }
func validateReplicationControllerStatus(obj, old *corev1.ReplicationController) fieldErrors {
	return nil
}
func validateReplicationControllerUpdate(obj, old *corev1.ReplicationController) fieldErrors {
	return nil
}
func validateResourceQuota(obj *corev1.ResourceQuota) fieldErrors             { return nil }
func validateResourceQuotaStatus(obj, old *corev1.ResourceQuota) fieldErrors  { return nil }
func validateResourceQuotaUpdate(obj, old *corev1.ResourceQuota) fieldErrors  { return nil }
func validateRole(obj *rbacv1.Role) fieldErrors                               { return nil }
func validateRoleBinding(obj *rbacv1.RoleBinding) fieldErrors                 { return nil }
func validateRoleBindingUpdate(obj, old *rbacv1.RoleBinding) fieldErrors      { return nil }
func validateRuntimeClass(obj *nodev1.RuntimeClass) fieldErrors               { return nil }
func validateRuntimeClassUpdate(obj, old *nodev1.RuntimeClass) fieldErrors    { return nil }
func validateSecret(obj *corev1.Secret) fieldErrors                           { return nil }
func validateSecretUpdate(obj, old *corev1.Secret) fieldErrors                { return nil }
func validateService(obj *corev1.Service) fieldErrors                         { return nil }
func validateServiceStatus(obj, old *corev1.Service) fieldErrors              { return nil }
func validateServiceUpdate(obj, old *corev1.Service) fieldErrors              { return nil }
func validateStatefulSet(obj *appsv1.StatefulSet) fieldErrors                 { return nil }
func validateStatefulSetUpdate(obj, old *appsv1.StatefulSet) fieldErrors      { return nil }
func validateStorageClass(obj *storagev1.StorageClass) fieldErrors            { return nil }
func validateStorageClassUpdate(obj, old *storagev1.StorageClass) fieldErrors { return nil }
func validated(obj *storagev1.StorageClass) fieldErrors                       { return nil }
