package quota_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry/quota"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// of reads an object from YAML; its defaults are the catalogue's.
func of[T api.Object](t testing.TB, kind *api.Kind, obj T, text string) T {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if kind.Default != nil {
		kind.Default(obj)
	}
	return obj
}

func shown(l corev1.ResourceList) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(l)) {
		amount := l[name]
		parts = append(parts, string(name)+"="+amount.String())
	}
	return strings.Join(parts, " ")
}

func view(t testing.TB, objects ...api.Object) quota.View {
	e := Start(t, Options{Kinds: api.BuiltIn()})
	for _, obj := range objects {
		if _, err := e.Store.Create(e.Ctx, e.Request(obj).Kind, obj); err != nil {
			t.Fatal(err)
		}
	}
	return quota.View{Catalogue: e.Catalogue, Snapshot: e.Store.Snapshot(), Now: now}
}

const pods1 = "count/pods=1 pods=1"

func TestUsage(t *testing.T) {
	name := "example.com/gpu"
	v := view(t, &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: &name}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "owner", UID: "u"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceName(name): resource.MustParse("1")}}}}}})
	for _, tc := range []struct{ name, kind, text, want string }{
		{"pod", "Pod", `spec: {containers: [{name: c, resources: {requests: {cpu: 100m, memory: 1Mi, ephemeral-storage: 1Gi}, limits: {memory: 2Mi}}}]}`,
			"count/pods=1 cpu=100m ephemeral-storage=1Gi limits.memory=2Mi memory=1Mi pods=1 requests.cpu=100m requests.ephemeral-storage=1Gi requests.memory=1Mi"},
		{"init containers, sidecars and overhead", "Pod", `spec: {overhead: {cpu: 10m}, initContainers: [{name: i, resources: {requests: {cpu: 200m}}}, {name: s, restartPolicy: Always, resources: {requests: {cpu: 50m}}}], containers: [{name: c, resources: {requests: {cpu: 100m}}}]}`,
			"count/pods=1 cpu=210m pods=1 requests.cpu=210m"},
		{"pod level", "Pod", `spec: {resources: {requests: {cpu: 1}}, containers: [{name: c, resources: {requests: {cpu: 100m}}}]}`, "count/pods=1 cpu=1 pods=1 requests.cpu=1"},
		{"devices and huge pages", "Pod", `spec: {containers: [{name: c, resources: {limits: {hugepages-2Mi: 4Mi, example.com/gpu: 2, deviceclass.resource.kubernetes.io/gpu: 1}, requests: {hugepages-2Mi: 4Mi, example.com/gpu: 2, deviceclass.resource.kubernetes.io/gpu: 1}}}]}`,
			"count/pods=1 hugepages-2Mi=4Mi pods=1 requests.deviceclass.resource.kubernetes.io/gpu=1 requests.example.com/gpu=2 requests.hugepages-2Mi=4Mi"},
		{"being resized down", "Pod", "spec: {containers: [{name: c, resources: {requests: {cpu: 100m}}}]}\nstatus: {containerStatuses: [{name: c, allocatedResources: {cpu: 300m}, resources: {requests: {cpu: 300m}}}]}",
			"count/pods=1 cpu=300m pods=1 requests.cpu=300m"},
		{"ended", "Pod", "spec: {containers: [{name: c, resources: {requests: {cpu: 1}}}]}\nstatus: {phase: Succeeded}", "count/pods=1"},
		{"dying", "Pod", "metadata: {deletionTimestamp: '2026-03-01T11:59:50Z', deletionGracePeriodSeconds: 30}\nspec: {containers: [{name: c}]}", pods1},
		{"given up", "Pod", "metadata: {deletionTimestamp: '2026-03-01T11:59:20Z', deletionGracePeriodSeconds: 30}\nspec: {containers: [{name: c}]}", "count/pods=1"},
		{"cluster IP", "Service", `spec: {ports: [{port: 1}]}`, "count/services=1 services=1 services.loadbalancers=0 services.nodeports=0"},
		{"node ports", "Service", `spec: {type: NodePort, ports: [{port: 1}, {port: 2}]}`, "count/services=1 services=1 services.loadbalancers=0 services.nodeports=2"},
		{"load balancer", "Service", `spec: {type: LoadBalancer, ports: [{port: 1}, {port: 2}]}`, "count/services=1 services=1 services.loadbalancers=1 services.nodeports=2"},
		{"load balancer without ports", "Service", `spec: {type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 1}, {port: 2, nodePort: 30000}]}`,
			"count/services=1 services=1 services.loadbalancers=1 services.nodeports=1"},
		{"claim", "PersistentVolumeClaim", `spec: {storageClassName: gold, resources: {requests: {storage: 1.5}}}`,
			"count/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 gold.storageclass.storage.k8s.io/requests.storage=2 persistentvolumeclaims=1 requests.storage=2"},
		{"claim by annotation", "PersistentVolumeClaim", "metadata: {annotations: {volume.beta.kubernetes.io/storage-class: ''}}\nspec: {storageClassName: gold, resources: {requests: {storage: 1Gi}}}",
			"count/persistentvolumeclaims=1 persistentvolumeclaims=1 requests.storage=1Gi"},
		{"claim that shrinks", "PersistentVolumeClaim", "spec: {resources: {requests: {storage: 1Gi}}}\nstatus: {allocatedResources: {storage: 3Gi}}",
			"count/persistentvolumeclaims=1 persistentvolumeclaims=1 requests.storage=3Gi"},
		{"secret", "Secret", ``, "count/secrets=1 secrets=1"},
		{"devices", "ResourceClaim", `spec: {devices: {requests: [{name: a, exactly: {deviceClassName: gpu, count: 2}}, {name: b, exactly: {deviceClassName: nic, allocationMode: All}}, {name: c, exactly: {deviceClassName: gpu}}]}}`,
			"count/resourceclaims.resource.k8s.io=1 gpu.deviceclass.resource.k8s.io/devices=3 nic.deviceclass.resource.k8s.io/devices=32 " +
				"requests.deviceclass.resource.kubernetes.io/gpu=3 requests.deviceclass.resource.kubernetes.io/nic=32 requests.example.com/gpu=3"},
		{"one of several", "ResourceClaim", `spec: {devices: {requests: [{name: a, firstAvailable: [{name: x, deviceClassName: nic, count: 4}, {name: y, deviceClassName: nic, count: 6}, {name: z, deviceClassName: fpga, allocationMode: All}]}, {name: b, exactly: {deviceClassName: nic}}]}}`,
			"count/resourceclaims.resource.k8s.io=1 fpga.deviceclass.resource.k8s.io/devices=32 nic.deviceclass.resource.k8s.io/devices=7 " +
				"requests.deviceclass.resource.kubernetes.io/fpga=32 requests.deviceclass.resource.kubernetes.io/nic=7"},
		{"of a mode that is not known", "ResourceClaim", `spec: {devices: {requests: [{name: a, exactly: {deviceClassName: nic, allocationMode: Some}}]}}`,
			"count/resourceclaims.resource.k8s.io=1 nic.deviceclass.resource.k8s.io/devices=0"},
		{"for a pod's extended resource", "ResourceClaim", `{metadata: {namespace: a, name: x, annotations: {resource.kubernetes.io/extended-resource-claim: "true"}, ownerReferences: [{apiVersion: v1, kind: Pod, name: owner, uid: u, controller: true}]}, spec: {devices: {requests: [{name: a, exactly: {deviceClassName: gpu, count: 3}}]}}}`,
			"count/resourceclaims.resource.k8s.io=1 gpu.deviceclass.resource.k8s.io/devices=3 requests.deviceclass.resource.kubernetes.io/gpu=3 requests.example.com/gpu=2"},
		{"that only says so", "ResourceClaim", `{metadata: {namespace: a, name: x, annotations: {resource.kubernetes.io/extended-resource-claim: "true"}, ownerReferences: [{apiVersion: v1, kind: Pod, name: owner, uid: other, controller: true}]}, spec: {devices: {requests: [{name: a, exactly: {deviceClassName: gpu}}]}}}`,
			"count/resourceclaims.resource.k8s.io=1 gpu.deviceclass.resource.k8s.io/devices=1 requests.deviceclass.resource.kubernetes.io/gpu=1 requests.example.com/gpu=1"},
	} {
		kind := kindNamed(t, v, tc.kind)
		obj := of(t, kind, kind.Versions[0].New(), tc.text)
		usage := v.Usage(kind, obj)
		if got := shown(usage); got != tc.want {
			t.Errorf("%s: uses %s\nwant %s", tc.name, got, tc.want)
		}
		for name := range usage {
			if !quota.UsesAny(kind, corev1.ResourceList{name: resource.MustParse("1")}) {
				t.Errorf("%s: uses %s, but a quota of it would not look", tc.name, name)
			}
		}
	}
}

func kindNamed(t testing.TB, v quota.View, name string) *api.Kind {
	for _, k := range v.Catalogue.Kinds() {
		if k.Kind == name {
			return k
		}
	}
	t.Fatalf("no kind %s", name)
	return nil
}

func TestEventsAreNotCounted(t *testing.T) {
	for _, k := range api.BuiltIn() {
		if k.Kind == "Event" && quota.UsesAny(k, corev1.ResourceList{"count/events": {}, "count/events.events.k8s.io": {}}) {
			t.Errorf("%s/%s is counted", k.Group, k.Plural)
		}
	}
}

func TestScopes(t *testing.T) {
	pod := func(text string) api.Object { return of(t, &api.Kind{}, &corev1.Pod{}, text) }
	claim := func(text string) api.Object { return of(t, &api.Kind{}, &corev1.PersistentVolumeClaim{}, text) }
	const selector = "scopeSelector: {matchExpressions: [{scopeName: %s}]}"
	sel := func(s string) string { return strings.Replace(selector, "%s", s, 1) }
	for _, tc := range []struct {
		spec string
		obj  api.Object
		want bool
	}{
		{"", pod(""), true},
		{"", &corev1.Secret{}, true},
		{"scopes: [Terminating]", pod("spec: {activeDeadlineSeconds: 9}"), true},
		{"scopes: [Terminating]", pod(""), false},
		{"scopes: [NotTerminating]", pod(""), true},
		{"scopes: [NotTerminating]", &corev1.Secret{}, false},
		{"scopes: [NotTerminating]", claim(""), false},
		{"scopes: [BestEffort]", pod("spec: {containers: [{name: c, resources: {requests: {example.com/x: 1}}}]}"), true},
		{"scopes: [BestEffort]", pod("spec: {containers: [{name: c, resources: {limits: {memory: 1}}}]}"), false},
		{"scopes: [BestEffort]", pod("status: {qosClass: Burstable}"), false},
		{"scopes: [NotBestEffort]", pod("spec: {resources: {requests: {cpu: 1}}}"), true},
		{"scopes: [NotBestEffort, Terminating]", pod("spec: {resources: {requests: {cpu: 1}}}"), false},
		{"scopes: [PriorityClass]", pod("spec: {priorityClassName: high}"), true},
		{"scopes: [PriorityClass]", pod(""), false},
		{sel("PriorityClass, operator: In, values: [high, low]"), pod("spec: {priorityClassName: high}"), true},
		{sel("PriorityClass, operator: In, values: ['']"), pod(""), false},
		{sel("PriorityClass, operator: NotIn, values: [high]"), pod(""), true},
		{sel("PriorityClass, operator: NotIn, values: [high]"), pod("spec: {priorityClassName: high}"), false},
		{sel("PriorityClass, operator: DoesNotExist"), pod(""), true},
		{sel("PriorityClass, operator: Exists"), claim(""), false},
		{"scopes: [CrossNamespacePodAffinity]", pod("spec: {affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: t, namespaces: [x]}]}}}"), true},
		{"scopes: [CrossNamespacePodAffinity]", pod("spec: {affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: t, namespaceSelector: {}}}]}}}"), true},
		{"scopes: [CrossNamespacePodAffinity]", pod("spec: {affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: t}]}}}"), false},
		{"scopes: [VolumeAttributesClass]", claim("spec: {volumeAttributesClassName: fast}"), true},
		{"scopes: [VolumeAttributesClass]", claim(""), false},
		{"scopes: [VolumeAttributesClass]", pod(""), false},
		{sel("VolumeAttributesClass, operator: In, values: [fast]"), claim("status: {currentVolumeAttributesClassName: fast}"), true},
		{sel("VolumeAttributesClass, operator: In, values: [fast]"), claim("{spec: {volumeAttributesClassName: slow}, status: {modifyVolumeStatus: {targetVolumeAttributesClassName: fast}}}"), true},
		{sel("VolumeAttributesClass, operator: In, values: [fast]"), claim("spec: {volumeAttributesClassName: slow}"), false},
		{sel("VolumeAttributesClass, operator: NotIn, values: [fast]"), claim("{spec: {volumeAttributesClassName: slow}, status: {currentVolumeAttributesClassName: fast}}"), true},
		{sel("VolumeAttributesClass, operator: DoesNotExist"), claim("spec: {volumeAttributesClassName: ''}"), true},
	} {
		q := of(t, &api.Kind{}, &corev1.ResourceQuota{}, "spec: {"+tc.spec+"}")
		if got := quota.InScope(q, tc.obj); got != tc.want {
			t.Errorf("%s of %T: %v", tc.spec, tc.obj, got)
		}
	}
}

func TestUnspecified(t *testing.T) {
	q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"cpu": {}, "limits.memory": {}, "requests.ephemeral-storage": {}, "requests.example.com/x": {}, "pods": {}}}}
	for text, want := range map[string]string{
		`spec: {containers: [{name: b}, {name: a}], initContainers: [{name: i, resources: {requests: {cpu: 1}}}]}`: "must specify cpu for: a,b; limits.memory for: a,b,i",
		`spec: {containers: [{name: a, resources: {requests: {cpu: 1}, limits: {memory: 1}}}]}`:                    "",
		`spec: {resources: {requests: {cpu: 1}}, containers: [{name: a}]}`:                                         "",
		`spec: {containers: [{name: a, resources: {requests: {cpu: 0}}}]}`:                                         "must specify limits.memory for: a",
	} {
		if got := quota.Unspecified(q, of(t, &api.Kind{}, &corev1.Pod{}, text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	if got := quota.Unspecified(q, &corev1.Secret{}); got != "" {
		t.Error(got)
	}
}

func TestGrowth(t *testing.T) {
	list := func(s string) corev1.ResourceList {
		l := corev1.ResourceList{}
		for _, part := range strings.Fields(s) {
			name, amount, _ := strings.Cut(part, "=")
			l[corev1.ResourceName(name)] = resource.MustParse(amount)
		}
		return l
	}
	plain, deadline := &corev1.Pod{}, &corev1.Pod{Spec: corev1.PodSpec{ActiveDeadlineSeconds: new(int64)}}
	all := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: list("pods=9 cpu=9 memory=9")}}
	ending := all.DeepCopy()
	ending.Spec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeTerminating}
	for _, tc := range []struct {
		name   string
		quota  *corev1.ResourceQuota
		change quota.Change
		want   string
	}{
		{"create", all, quota.Change{New: plain, NewUsage: list("pods=1 cpu=2 other=1")}, "cpu=2 pods=1"},
		{"raise one, lower another", all, quota.Change{Old: plain, New: plain, OldUsage: list("pods=1 cpu=2 memory=4"), NewUsage: list("pods=1 cpu=3 memory=1")}, "cpu=1"},
		{"lower", all, quota.Change{Old: plain, New: plain, OldUsage: list("pods=1 cpu=2"), NewUsage: list("pods=1 cpu=1")}, ""},
		{"enter a scope", ending, quota.Change{Old: plain, New: deadline, OldUsage: list("pods=1 cpu=2"), NewUsage: list("pods=1 cpu=2")}, "cpu=2 pods=1"},
		{"leave a scope", ending, quota.Change{Old: deadline, New: plain, OldUsage: list("pods=1"), NewUsage: list("pods=1 cpu=5")}, ""},
		{"uses nothing", all, quota.Change{New: plain, NewUsage: list("cpu=0")}, ""},
	} {
		if got := shown(tc.change.Growth(tc.quota)); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
