package admission

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"

	"codeberg.org/skiff/skiff/internal/podrefs"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	defaultServiceAccount = "default"
	// tokenMountPath is where clients in a pod look for their credentials.
	tokenMountPath    = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenVolumePrefix = "kube-api-access-"
	// tokenSeconds is one hour and a little, which the kubelet renews at 80 %.
	tokenSeconds = int64(3607)
	rootCAName   = "kube-root-ca.crt"
	// accountPatience is how long a pod waits for the default account of a namespace that was just made.
	accountPatience = 1500 * time.Millisecond
)

// serviceAccount gives each new pod an account, and mounts its credentials.
func serviceAccount(c *Config) registry.Plugin {
	return registry.Plugin{
		Name: "ServiceAccount",
		Admit: onPods(func(ctx context.Context, a *registry.Attributes, pod, _ *corev1.Pod) error {
			if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
				return mirrorPodRefersToNothing(a, pod)
			}
			if pod.Spec.ServiceAccountName == "" {
				pod.Spec.ServiceAccountName = defaultServiceAccount
			}
			pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
			account, err := c.account(ctx, a.Namespace, pod.Spec.ServiceAccountName)
			if err != nil {
				return forbidden(a, "error looking up service account %s/%s: %w", a.Namespace, pod.Spec.ServiceAccountName, err)
			}
			if automount(account, pod) {
				mountToken(pod)
			}
			if len(pod.Spec.ImagePullSecrets) == 0 {
				pod.Spec.ImagePullSecrets = append(pod.Spec.ImagePullSecrets, account.ImagePullSecrets...)
			}
			return nil
		}, registry.VerbCreate),
	}
}

// account finds a service account. The default one is made by a controller soon after its namespace is, so it is waited for.
func (c *Config) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	missing := apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
	kind := c.Catalogue.ByObject(&corev1.ServiceAccount{})
	if kind == nil {
		return nil, missing
	}
	snap := c.Store.Snapshot()
	if sa, ok := snap.Get(kind, namespace, name).(*corev1.ServiceAccount); ok {
		return sa, nil
	}
	if name != defaultServiceAccount {
		return nil, missing
	}
	ctx, cancel := context.WithTimeout(ctx, accountPatience)
	defer cancel()
	w, err := c.Store.Watch(ctx, store.WatchOptions{Kinds: []*api.Kind{kind}, From: snap.Revision(), Namespace: namespace})
	if err != nil {
		return nil, missing
	}
	defer w.Stop()
	for batch := range w.Events() {
		for _, e := range batch {
			if sa, ok := e.Object.(*corev1.ServiceAccount); ok && e.Type != store.Deleted && sa.Name == name {
				return sa, nil
			}
		}
	}
	return nil, missing
}

func automount(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	if pod.Spec.AutomountServiceAccountToken != nil {
		return *pod.Spec.AutomountServiceAccountToken
	}
	return account.AutomountServiceAccountToken == nil || *account.AutomountServiceAccountToken
}

// mountToken mounts the credentials into every container that has nothing at their path.
func mountToken(pod *corev1.Pod) {
	name, have := "", false
	for _, v := range pod.Spec.Volumes {
		if strings.HasPrefix(v.Name, tokenVolumePrefix) {
			name, have = v.Name, true
			break
		}
	}
	if !have {
		name = tokenVolumePrefix + rand.String(5)
	}
	needed := false
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if mounts(&containers[i], tokenMountPath) {
				continue
			}
			containers[i].VolumeMounts = append(containers[i].VolumeMounts,
				corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMountPath})
			needed = true
		}
	}
	if needed && !have {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: tokenVolume()}})
	}
}

func mounts(c *corev1.Container, path string) bool {
	for _, m := range c.VolumeMounts {
		if m.MountPath == path {
			return true
		}
	}
	return false
}

// tokenVolume holds a token that the kubelet renews, the cluster's CA, and the pod's namespace.
func tokenVolume() *corev1.ProjectedVolumeSource {
	mode, seconds := corev1.ProjectedVolumeSourceDefaultMode, tokenSeconds
	return &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: rootCAName},
				Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}
}

// mirrorPodRefersToNothing: a mirror pod shows what a node runs from a file, and must not make it read the API.
func mirrorPodRefersToNothing(a *registry.Attributes, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return forbidden(a, "a mirror pod may not reference service accounts")
	}
	if refersToSecrets(pod) {
		return forbidden(a, "a mirror pod may not reference secrets")
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken != nil {
				return forbidden(a, "a mirror pod may not use ServiceAccountToken volume projections")
			}
		}
	}
	return nil
}

func refersToSecrets(pod *corev1.Pod) bool {
	for r := range podrefs.Of(pod) {
		if r.Resource == podrefs.Secrets {
			return true
		}
	}
	return false
}
