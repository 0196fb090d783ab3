package api

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// What a user sees in Warning headers, in order.
func TestWarnings(t *testing.T) {
	for name, c := range map[string]struct {
		kind *Kind
		body string
		want string
	}{
		"a quiet pod": {pod(), `{metadata: {name: p}, spec: {containers: [{name: c, env: [{name: A, value: x}, {name: A, value: "$(A)y"}], ports: [{containerPort: 80}]}]}}`, ""},
		"a loud pod": {pod(), `
metadata: {name: a.b, annotations: {seccomp.security.alpha.kubernetes.io/pod: x}}
spec:
  nodeSelector: {beta.kubernetes.io/os: linux}
  terminationGracePeriodSeconds: -1
  topologySpreadConstraints: [{topologyKey: failure-domain.beta.kubernetes.io/zone}]
  imagePullSecrets: [{name: a}, {name: a}]
  volumes: [{name: g, gitRepo: {}}]
  containers:
  - {name: c, env: [{name: A, value: x}, {name: A, value: y}], ports: [{name: p, containerPort: 80}, {name: p, containerPort: 80}, {containerPort: 81, hostIP: 1.2.3.4}], resources: {limits: {memory: 500m}}}`,
			`metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead
spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead
spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod
spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+
spec.imagePullSecrets[1].name: duplicate name "a"
metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead
spec.containers[0].resources.limits[memory]: fractional byte value "500m" is invalid, must be an integer
spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply
spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]
spec.containers[0].ports[1]: duplicate port name "p" with spec.containers[0].ports[0], services and probes that select ports by name will use spec.containers[0].ports[0]
spec.containers[0].ports[2]: hostIP set without hostPort: 
spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`},
		"a template": {deployment(), `{metadata: {name: d}, spec: {template: {spec: {containers: [{name: c, env: [{name: A}, {name: A}]}]}}}}`,
			`spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`},
		"a cron job": {cronJob(), `{metadata: {name: c}, spec: {jobTemplate: {spec: {template: {spec: {dnsConfig: {nameservers: ["::ffff:1.2.3.4"]}}}}}}}`,
			`spec.jobTemplate.spec.template.spec.dnsConfig.nameservers[0]: `},
		"an ingress": {ingress(), `{metadata: {annotations: {kubernetes.io/ingress.class: x}}}`,
			`annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead`},
		"a secret": {secret(), `{type: kubernetes.io/tls}`, `tls: failed to find any PEM data in certificate input`},
		"a quota":  {resourceQuota(), `{spec: {hard: {cpu: 3, limits.cpu: 2}}}`, `ResourceQuota cpu (3) should be less than limits.cpu (2)`},
		"a volume": {persistentVolume(), `{spec: {persistentVolumeReclaimPolicy: Recycle}}`, `spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated.`},
		"a service": {service(), `{spec: {type: ClusterIP, clusterIP: None, externalIPs: [1.2.3.4], sessionAffinity: ClientIP, trafficDistribution: PreferClose}}`,
			"spec.externalIPs is ignored for headless services\nspec.SessionAffinity is ignored for headless services\nspec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""},
		"a slice":          {endpointSlice(), `{addressType: FQDN}`, `spec.addressType: FQDN endpoints are deprecated`},
		"a network policy": {networkPolicy(), `{spec: {ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/8}}]}]}}`, `spec.ingress[0].from[0].ipBlock.cidr: `},
		"a driver":         {resourceSlice(), `{spec: {driver: A.b}}`, `spec.driver: driver names should be lowercase; "A.b" contains uppercase characters`},
	} {
		t.Run(name, func(t *testing.T) {
			obj := c.kind.Hub().New()
			if err := yaml.Unmarshal([]byte(c.body), obj); err != nil {
				t.Fatal(err)
			}
			got, want := c.kind.Warnings(obj, nil), strings.Split(c.want, "\n")
			if c.want == "" {
				want = nil
			}
			if len(got) != len(want) {
				t.Fatalf("%d warnings, not %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
			}
			for i := range want {
				if !strings.HasPrefix(got[i], want[i]) {
					t.Errorf("warning %d is\n%s\nnot\n%s", i, got[i], want[i])
				}
			}
			c.kind.Warnings(obj, obj)
		})
	}
}
