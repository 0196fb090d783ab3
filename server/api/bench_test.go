package api

import (
	"testing"

	"sigs.k8s.io/yaml"
)

// BenchmarkCreatePod is all that a kind does to a pod on its way in.
func BenchmarkCreatePod(b *testing.B) {
	k := pod()
	sent := k.Hub().New()
	if err := yaml.Unmarshal([]byte(`
metadata: {name: web, namespace: default, labels: {app: web}}
spec:
  containers:
  - {name: a, image: nginx, ports: [{containerPort: 80}], resources: {limits: {cpu: 1, memory: 1Gi}}, readinessProbe: {httpGet: {port: 80}}, volumeMounts: [{name: v, mountPath: /v}]}
  volumes: [{name: v, configMap: {name: c}}]
`), sent); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		obj := sent.DeepCopyObject().(Object)
		k.Default(obj)
		k.PrepareCreate(obj)
		if errs := k.Validate(obj); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

// BenchmarkUpdatePodStatus is what a kubelet's status update costs here.
func BenchmarkUpdatePodStatus(b *testing.B) {
	k := pod()
	stored := fuzzed(k, 1)
	status := k.Subresource("status")
	b.ReportAllocs()
	for b.Loop() {
		obj, err := status.Inject(stored, stored)
		if err != nil {
			b.Fatal(err)
		}
		status.Validate(obj, stored)
	}
}
