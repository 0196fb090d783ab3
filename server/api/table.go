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

		role(),
		roleBinding(),
		clusterRole(),
		clusterRoleBinding(),
		certificateSigningRequest(),

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
	}, reviews())
}
