package api

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
)

func validateCSR(obj *certificatesv1.CertificateSigningRequest) fieldErrors            { return nil }
func validateClusterRole(obj *rbacv1.ClusterRole) fieldErrors                          { return nil }
func validateClusterRoleBinding(obj *rbacv1.ClusterRoleBinding) fieldErrors            { return nil }
func validateClusterRoleBindingUpdate(obj, old *rbacv1.ClusterRoleBinding) fieldErrors { return nil }
func validateEvent(obj *corev1.Event) fieldErrors                                      { return nil }
func validateEventUpdate(obj, old *corev1.Event) fieldErrors                           { return nil }
func validateHPA(obj *autoscalingv2.HorizontalPodAutoscaler) fieldErrors               { return nil }
func validateIngress(obj *networkingv1.Ingress) fieldErrors                            { return nil }
func validateIngressClass(obj *networkingv1.IngressClass) fieldErrors                  { return nil }
func validateIngressClassUpdate(obj, old *networkingv1.IngressClass) fieldErrors       { return nil }
func validateLease(obj *coordinationv1.Lease) fieldErrors                              { return nil }
func validateLeaseUpdate(obj, old *coordinationv1.Lease) fieldErrors                   { return nil }
func validateLimitRange(obj *corev1.LimitRange) fieldErrors                            { return nil }
func validateNetworkPolicy(obj *networkingv1.NetworkPolicy) fieldErrors                { return nil }
func validatePodDisruptionBudget(obj *policyv1.PodDisruptionBudget) fieldErrors        { return nil }
func validatePodDisruptionBudgetStatus(obj, old *policyv1.PodDisruptionBudget) fieldErrors {
	return nil
}
func validatePriorityClass(obj *schedulingv1.PriorityClass) fieldErrors            { return nil }
func validatePriorityClassUpdate(obj, old *schedulingv1.PriorityClass) fieldErrors { return nil }
func validateResourceQuota(obj *corev1.ResourceQuota) fieldErrors                  { return nil }
func validateResourceQuotaStatus(obj, old *corev1.ResourceQuota) fieldErrors       { return nil }
func validateResourceQuotaUpdate(obj, old *corev1.ResourceQuota) fieldErrors       { return nil }
func validateRole(obj *rbacv1.Role) fieldErrors                                    { return nil }
func validateRoleBinding(obj *rbacv1.RoleBinding) fieldErrors                      { return nil }
func validateRoleBindingUpdate(obj, old *rbacv1.RoleBinding) fieldErrors           { return nil }
func validateRuntimeClass(obj *nodev1.RuntimeClass) fieldErrors                    { return nil }
func validateRuntimeClassUpdate(obj, old *nodev1.RuntimeClass) fieldErrors         { return nil }
func validated(obj *nodev1.RuntimeClass) fieldErrors                               { return nil }
