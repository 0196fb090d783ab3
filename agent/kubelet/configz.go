package kubelet

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Configz is the configuration in the words of upstream's KubeletConfiguration.
func (v view) Configz() any {
	c := v.k.cfg
	hard, soft, grace, reclaim := map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}
	for _, t := range c.Thresholds {
		name := string(t.Signal)
		if t.Soft {
			soft[name], grace[name] = t.Below.String(), t.Grace.String()
		} else {
			hard[name] = t.Below.String()
		}
		if t.Reclaim.Of(1<<40) > 0 {
			reclaim[name] = t.Reclaim.String()
		}
	}
	return map[string]any{"kubeletconfig": map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": map[string]any{"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true, "cacheTTL": "2m0s"}},
		"authorization":  map[string]any{"mode": "Webhook", "webhook": map[string]any{"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"}},
		"maxPods":        c.MaxPods, "podsPerCore": c.PodsPerCore, "clusterDNS": c.ClusterDNS, "clusterDomain": c.ClusterDomain, "podPidsLimit": c.PodPIDs,
		"seccompDefault": c.SeccompDefault, "containerLogMaxSize": resource.NewQuantity(c.LogMaxSize, resource.BinarySI).String(), "containerLogMaxFiles": c.LogMaxFiles,
		"nodeLeaseDurationSeconds": leaseSeconds, "nodeStatusReportFrequency": statusEvery.String(),
		"evictionHard": hard, "evictionSoft": soft, "evictionSoftGracePeriod": grace, "evictionMinimumReclaim": reclaim,
		"evictionPressureTransitionPeriod": c.PressureTransition.String(), "evictionMaxPodGracePeriod": int(c.SoftGrace.Seconds()),
		"kubeReserved": texted(c.KubeReserved), "systemReserved": texted(c.SystemReserved), "enforceNodeAllocatable": c.Enforce,
		"kubeReservedCgroup": c.KubeReservedCgroup, "systemReservedCgroup": c.SystemReservedCgroup,
		"imageGCHighThresholdPercent": percent(c.ImageGCHigh), "imageGCLowThresholdPercent": percent(c.ImageGCLow),
		"imageMinimumGCAge": max(0, c.ImageMinAge).String(), "imageMaximumGCAge": c.ImageMaxAge.String(),
		"shutdownGracePeriod": c.ShutdownGrace.String(), "shutdownGracePeriodCriticalPods": c.ShutdownGraceCritical.String(),
		"allowedUnsafeSysctls": c.AllowedSysctls, "enableServer": c.Listen != "", "staticPodPath": c.Paths.PodManifests(), "providerID": c.ProviderID,
	}}
}

func percent(share float64) int {
	n, _ := strconv.Atoi(fmt.Sprintf("%.0f", share*100))
	return n
}

func texted(list corev1.ResourceList) map[string]string {
	out := map[string]string{}
	for name, q := range list {
		out[string(name)] = q.String()
	}
	return out
}
