package openapi

// What is required follows from the json tags: a field without omitempty is. These are the types of k8s.io/api whose
// documentation says otherwise, by definition name without the prefix io.k8s.api.

// optional fields that are always written, though they need not be given.
var optional = map[string][]string{
	"apps.v1.ControllerRevision":                      {"revision"},
	"apps.v1.DaemonSetCondition":                      {"status", "type"},
	"apps.v1.DeploymentCondition":                     {"status", "type"},
	"apps.v1.ReplicaSetCondition":                     {"status", "type"},
	"apps.v1.StatefulSetCondition":                    {"status", "type"},
	"apps.v1.StatefulSetOrdinals":                     {"start"},
	"apps.v1.StatefulSetSpec":                         {"serviceName"},
	"apps.v1.StatefulSetStatus":                       {"availableReplicas"},
	"authentication.v1.TokenRequest":                  {"spec"},
	"authentication.v1.TokenRequestSpec":              {"audiences", "boundObjectRef", "expirationSeconds"},
	"authentication.v1.TokenRequestStatus":            {"expirationTimestamp", "token"},
	"autoscaling.v2.HorizontalPodAutoscalerStatus":    {"currentMetrics"},
	"batch.v1.PodFailurePolicyOnPodConditionsPattern": {"status"},
	"core.v1.AzureFilePersistentVolumeSource":         {"secretNamespace"},
	"core.v1.ContainerImage":                          {"names"},
	"core.v1.Event":                                   {"reportingComponent", "reportingInstance"},
	"core.v1.GRPCAction":                              {"service"},
	"core.v1.NodeRuntimeHandler":                      {"name"},
	"core.v1.ProjectedVolumeSource":                   {"sources"},
	"core.v1.TypedLocalObjectReference":               {"apiGroup"},
	"core.v1.TypedObjectReference":                    {"apiGroup"},
	"discovery.v1.EndpointSlice":                      {"endpoints"},
	"networking.v1.IngressClassParametersReference":   {"scope"},
	"networking.v1.NetworkPolicySpec":                 {"podSelector"},
	"policy.v1.PodDisruptionBudgetStatus":             {"currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"},
	"rbac.v1.ClusterRole":                             {"rules"},
	"rbac.v1.Role":                                    {"rules"},
	"rbac.v1.RoleRef":                                 {"apiGroup"},
	"scheduling.v1.PriorityClass":                     {"value"},
}

// demanded fields that are left out when empty, though they must be given.
var demanded = map[string][]string{
	"apps.v1.DaemonSet":                       {"spec"},
	"apps.v1.Deployment":                      {"spec"},
	"apps.v1.ReplicaSet":                      {"spec"},
	"apps.v1.StatefulSet":                     {"spec"},
	"authentication.v1.TokenReviewSpec":       {"token"},
	"autoscaling.v1.HorizontalPodAutoscaler":  {"spec"},
	"autoscaling.v2.HorizontalPodAutoscaler":  {"spec"},
	"batch.v1.CronJob":                        {"spec"},
	"core.v1.ContainerRestartRule":            {"action"},
	"core.v1.ContainerRestartRuleOnExitCodes": {"operator"},
	"core.v1.ImageVolumeStatus":               {"imageRef"},
	"core.v1.PodCertificateProjection":        {"keyType", "signerName"},
}
