package api

import "slices"

// BuiltIn returns the kinds that every server has. Adding a kind is one file, and one line here.
func BuiltIn() []*Kind {
	return slices.Concat([]*Kind{
		// What others refer to comes first.
		namespace(),
		node(),
		configMap(),
		secret(),
		serviceAccount(),
		pod(),
		podTemplate(),
		replicationController(),
		service(),
		endpoints(),
		event(),
		limitRange(),
		resourceQuota(),
		persistentVolume(),
		persistentVolumeClaim(),
		binding(),
		componentStatus(),

		controllerRevision(),
		daemonSet(),
		deployment(),
		replicaSet(),
		statefulSet(),
		cronJob(),
		job(),
		horizontalPodAutoscaler(),
		podDisruptionBudget(),

		endpointSlice(),
		ingress(),
		ingressClass(),
		networkPolicy(),
		ipAddress(),
		serviceCIDR(),

		role(),
		roleBinding(),
		clusterRole(),
		clusterRoleBinding(),
		certificateSigningRequest(),

		mutatingWebhookConfiguration(),
		validatingWebhookConfiguration(),
		mutatingAdmissionPolicy(),
		mutatingAdmissionPolicyBinding(),
		validatingAdmissionPolicy(),
		validatingAdmissionPolicyBinding(),
		clusterTrustBundle(),
		podCertificateRequest(),
		customResourceDefinition(),

		lease(),
		priorityClass(),
		runtimeClass(),
		flowSchema(),
		priorityLevelConfiguration(),
		storageClass(),
		csiDriver(),
		csiNode(),
		csiStorageCapacity(),
		volumeAttachment(),
		volumeAttributesClass(),
		storageVersionMigration(),
		deviceClass(),
		resourceClaim(),
		resourceClaimTemplate(),
		resourceSlice(),
		deviceTaintRule(),
		apiService(),
	}, reviews())
}
