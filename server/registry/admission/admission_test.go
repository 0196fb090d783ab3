package admission_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/registry"
	"codeberg.org/skiff/skiff/server/registry/action"
	"codeberg.org/skiff/skiff/server/registry/admission"
	. "codeberg.org/skiff/skiff/server/registry/registrytest"
)

var metaNS = metav1.ObjectMeta{Name: "web"}

func inGroup(group string, k *api.Kind) *api.Kind {
	k.Group, k.Versions[0].Group, k.Prefix = group, group, "/registry/"+group+"/"+k.Plural
	return k
}

// start runs a cluster with all plugins, and a namespace "web" with its default account.
func start(t *testing.T, cidrs ...string) *Env {
	t.Helper()
	if len(cidrs) == 0 {
		cidrs = []string{"10.43.0.0/16"}
	}
	return startWith(t, func(_ *Env, c *admission.Config) {
		for _, s := range cidrs {
			c.ServiceCIDRs = append(c.ServiceCIDRs, netip.MustParsePrefix(s))
		}
	})
}

// startWith is start with another configuration.
func startWith(t *testing.T, change func(e *Env, c *admission.Config)) *Env {
	t.Helper()
	kinds := append(Kinds(),
		Plain("Event", "events", true, func() api.Object { return &corev1.Event{} }, func() runtime.Object { return &corev1.EventList{} }),
		inGroup("scheduling.k8s.io", Plain("PriorityClass", "priorityclasses", false, func() api.Object { return &schedulingv1.PriorityClass{} }, func() runtime.Object { return &schedulingv1.PriorityClassList{} })),
		inGroup("node.k8s.io", Plain("RuntimeClass", "runtimeclasses", false, func() api.Object { return &nodev1.RuntimeClass{} }, func() runtime.Object { return &nodev1.RuntimeClassList{} })),
	)
	e := Start(t, Options{
		Kinds: kinds,
		Admission: func(e *Env) []registry.Plugin {
			c := admission.Config{Store: e.Store, Catalogue: e.Catalogue, NodePortRange: "30000-30063"}
			change(e, &c)
			table, err := admission.Table(c)
			if err != nil {
				t.Fatal(err)
			}
			return table
		},
		Actions: func(*Env) []registry.Action { return action.Table(action.Config{}) },
	})
	Create(e, &corev1.Namespace{ObjectMeta: metaNS})
	Create(e, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "default"},
		ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}})
	return e
}

func pod(change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "p"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func wantErr(t *testing.T, err error, reason metav1.StatusReason, text string) {
	t.Helper()
	if err == nil || apierrors.ReasonForError(err) != reason || !strings.Contains(err.Error(), text) {
		t.Errorf("got  %v\nwant %s %q", err, reason, text)
	}
}

func TestNamespaceLifecycle(t *testing.T) {
	e := start(t)
	p := pod(nil)
	p.Namespace = "missing"
	_, err := TryCreate(e, p)
	wantErr(t, err, metav1.StatusReasonNotFound, `namespaces "missing" not found`)
	Create(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	_, _, err = e.Registry.Delete(e.Ctx, e.Request(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}), nil)
	wantErr(t, err, metav1.StatusReasonForbidden, `namespaces "default" is forbidden: this namespace may not be deleted`)
	e.Delete(&corev1.Namespace{ObjectMeta: metaNS}, nil)
	_, err = TryCreate(e, pod(nil))
	wantErr(t, err, metav1.StatusReasonForbidden, `pods "p" is forbidden: unable to create new content in namespace web because it is being terminated`)
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Error("no cause")
	}
}

func TestNewPod(t *testing.T) {
	e := start(t)
	p := Create(e, pod(nil))
	if p.Spec.ServiceAccountName != "default" || p.Spec.ImagePullSecrets[0].Name != "pull" {
		t.Errorf("account: %+v", p.Spec)
	}
	mount := p.Spec.Containers[0].VolumeMounts
	if len(mount) != 1 || mount[0].MountPath != "/var/run/secrets/kubernetes.io/serviceaccount" || !mount[0].ReadOnly ||
		len(p.Spec.Volumes) != 1 || p.Spec.Volumes[0].Name != mount[0].Name || len(p.Spec.Volumes[0].Projected.Sources) != 3 {
		t.Errorf("token: %+v %+v", mount, p.Spec.Volumes)
	}
	if *p.Spec.Priority != 0 || *p.Spec.PreemptionPolicy != corev1.PreemptLowerPriority {
		t.Errorf("priority: %v %v", p.Spec.Priority, p.Spec.PreemptionPolicy)
	}
	if len(p.Spec.Tolerations) != 2 || *p.Spec.Tolerations[0].TolerationSeconds != 300 {
		t.Errorf("tolerations: %+v", p.Spec.Tolerations)
	}
	no := false
	p = Create(e, pod(func(p *corev1.Pod) { p.Name, p.Spec.AutomountServiceAccountToken = "q", &no }))
	if len(p.Spec.Volumes) != 0 {
		t.Errorf("volumes of one that wants no token: %+v", p.Spec.Volumes)
	}
	_, err := TryCreate(e, pod(func(p *corev1.Pod) { p.Name, p.Spec.ServiceAccountName = "r", "other" }))
	wantErr(t, err, metav1.StatusReasonForbidden, `pods "r" is forbidden: error looking up service account web/other: serviceaccount "other" not found`)
}

func TestPodWaitsForTheDefaultAccount(t *testing.T) {
	e := start(t)
	Create(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}})
	go func() {
		time.Sleep(50 * time.Millisecond)
		_, _ = TryCreate(e, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "default"}})
	}()
	Create(e, pod(func(p *corev1.Pod) { p.Namespace = "new" }))
}

func TestPriority(t *testing.T) {
	e := start(t)
	Create(e, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000})
	Create(e, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "usual"}, Value: 10, GlobalDefault: true})
	p := Create(e, pod(func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" }))
	if *p.Spec.Priority != 1000 {
		t.Errorf("high is %d", *p.Spec.Priority)
	}
	p = Create(e, pod(func(p *corev1.Pod) { p.Name = "q" }))
	if *p.Spec.Priority != 10 || p.Spec.PriorityClassName != "usual" {
		t.Errorf("the default is %d %s", *p.Spec.Priority, p.Spec.PriorityClassName)
	}
	p = Create(e, pod(func(p *corev1.Pod) { p.Name, p.Spec.PriorityClassName = "s", "system-node-critical" }))
	if *p.Spec.Priority != 2_000_001_000 {
		t.Errorf("node-critical is %d", *p.Spec.Priority)
	}
	_, err := TryCreate(e, pod(func(p *corev1.Pod) { p.Name, p.Spec.PriorityClassName = "r", "nothing" }))
	wantErr(t, err, metav1.StatusReasonForbidden, "no PriorityClass with name nothing was found")
	_, err = TryCreate(e, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "second"}, GlobalDefault: true})
	wantErr(t, err, metav1.StatusReasonForbidden, "PriorityClass usual is already marked as default. Only one default can exist")
}

func TestRuntimeClass(t *testing.T) {
	e := start(t)
	name := "kata"
	_, err := TryCreate(e, pod(func(p *corev1.Pod) { p.Spec.RuntimeClassName = &name }))
	wantErr(t, err, metav1.StatusReasonForbidden, `pod rejected: RuntimeClass "kata" not found`)
	Create(e, &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: "kata",
		Overhead: &nodev1.Overhead{PodFixed: corev1.ResourceList{"cpu": resource.MustParse("1")}}})
	p := Create(e, pod(func(p *corev1.Pod) { p.Spec.RuntimeClassName = &name }))
	if cpu := p.Spec.Overhead["cpu"]; cpu.String() != "1" {
		t.Errorf("overhead %v", p.Spec.Overhead)
	}
}

func TestLimitRange(t *testing.T) {
	e := start(t)
	Create(e, &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "l"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
		Type:           corev1.LimitTypeContainer,
		Max:            corev1.ResourceList{"cpu": resource.MustParse("2")},
		Default:        corev1.ResourceList{"cpu": resource.MustParse("1")},
		DefaultRequest: corev1.ResourceList{"cpu": resource.MustParse("500m")},
	}}}})
	p := Create(e, pod(nil))
	if r := p.Spec.Containers[0].Resources; r.Limits.Cpu().String() != "1" || r.Requests.Cpu().String() != "500m" {
		t.Errorf("resources %+v", r)
	}
	if got := p.Annotations["kubernetes.io/limit-ranger"]; got != "LimitRanger plugin set: cpu limit for container c; cpu request for container c" {
		t.Errorf("annotation %q", got)
	}
	_, err := TryCreate(e, pod(func(p *corev1.Pod) {
		p.Name = "q"
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("3")}
	}))
	wantErr(t, err, metav1.StatusReasonForbidden, `pods "q" is forbidden: maximum cpu usage per Container is 2, but limit is 3`)
	larger := p.DeepCopy()
	larger.Spec.Containers[0].Resources.Limits["cpu"] = resource.MustParse("3")
	_, err = TryUpdate(e, larger, "resize")
	wantErr(t, err, metav1.StatusReasonForbidden, `pods "p" is forbidden: maximum cpu usage per Container is 2, but limit is 3`)
	larger.Spec.Containers[0].Resources.Limits["cpu"] = resource.MustParse("2")
	if _, err = TryUpdate(e, larger, "resize"); err != nil {
		t.Error(err)
	}
}

func TestPodSecurity(t *testing.T) {
	e := start(t)
	Mutate(e, &corev1.Namespace{ObjectMeta: metaNS}, "", func(ns *corev1.Namespace) {
		ns.Labels = map[string]string{"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}
	})
	yes := true
	_, err := TryCreate(e, pod(func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: &yes} }))
	wantErr(t, err, metav1.StatusReasonForbidden, `pods "p" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)`)
	req := e.Request(pod(nil))
	var warnings []string
	req.Warn = func(s string) { warnings = append(warnings, s) }
	if _, err := e.Registry.Create(e.Ctx, req, pod(nil)); err != nil {
		t.Error(err)
	}
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], `would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c"`) {
		t.Errorf("warnings %q", warnings)
	}
	bad := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "lax"}}}
	_, err = TryCreate(e, bad)
	wantErr(t, err, metav1.StatusReasonInvalid, "must be one of privileged, baseline, restricted")
}

func service(name string, change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Port: 80, Protocol: "TCP"}}}}
	if change != nil {
		change(s)
	}
	return s
}

func TestServiceAddresses(t *testing.T) {
	e := start(t)
	s := Create(e, service("a", nil))
	ip := netip.MustParseAddr(s.Spec.ClusterIP)
	if !netip.MustParsePrefix("10.43.0.0/16").Contains(ip) || len(s.Spec.ClusterIPs) != 1 || s.Spec.ClusterIPs[0] != s.Spec.ClusterIP ||
		*s.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack || len(s.Spec.IPFamilies) != 1 {
		t.Errorf("%+v", s.Spec)
	}
	_, err := TryCreate(e, service("b", func(n *corev1.Service) { n.Spec.ClusterIP = s.Spec.ClusterIP }))
	wantErr(t, err, metav1.StatusReasonInvalid, fmt.Sprintf(`Service "b" is invalid: spec.clusterIPs: Invalid value: ["%s"]: failed to allocate IP %s: provided IP is already allocated`, ip, ip))
	_, err = TryCreate(e, service("b", func(n *corev1.Service) { n.Spec.ClusterIP = "1.2.3.4" }))
	wantErr(t, err, metav1.StatusReasonInvalid, "the provided IP (1.2.3.4) is not in the valid range. The range of valid IPs is 10.43.0.0/16")
	_, err = TryCreate(e, service("b", func(n *corev1.Service) { n.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} }))
	wantErr(t, err, metav1.StatusReasonInvalid, "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster")
	headless := Create(e, service("h", func(n *corev1.Service) { n.Spec.ClusterIP = "None" }))
	if headless.Spec.ClusterIPs[0] != "None" {
		t.Errorf("%+v", headless.Spec)
	}
	Mutate(e, s, "", func(s *corev1.Service) { s.Labels = map[string]string{"x": "y"} })
	e.Delete(s, nil)
	Create(e, service("b", func(n *corev1.Service) { n.Spec.ClusterIP = s.Spec.ClusterIP }))
}

func TestServiceDualStack(t *testing.T) {
	e := start(t, "10.43.0.0/16", "fd00::/108")
	policy := corev1.IPFamilyPolicyPreferDualStack
	s := Create(e, service("a", func(s *corev1.Service) { s.Spec.IPFamilyPolicy = &policy }))
	if len(s.Spec.ClusterIPs) != 2 || s.Spec.IPFamilies[1] != corev1.IPv6Protocol || !strings.HasPrefix(s.Spec.ClusterIPs[1], "fd00::") {
		t.Errorf("%+v", s.Spec)
	}
	if s := Create(e, service("b", nil)); len(s.Spec.ClusterIPs) != 1 {
		t.Errorf("%+v", s.Spec)
	}
}

// However many ask at once, no address and no port is handed out twice, and every one there is can be had.
func TestServiceAllocationIsExclusive(t *testing.T) {
	e := start(t, "10.43.0.0/26") // 62 addresses; 64 node ports
	var wg sync.WaitGroup
	var mu sync.Mutex
	ips, ports := map[string]bool{}, map[int32]bool{}
	failed := 0
	for i := range 70 {
		wg.Go(func() {
			s, err := TryCreate(e, service(fmt.Sprint("s", i), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort }))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				if !strings.Contains(err.Error(), "range is full") {
					t.Error(err)
				}
				return
			}
			if ips[s.Spec.ClusterIP] || ports[s.Spec.Ports[0].NodePort] || s.Spec.Ports[0].NodePort < 30000 {
				t.Errorf("%s or %d twice", s.Spec.ClusterIP, s.Spec.Ports[0].NodePort)
			}
			ips[s.Spec.ClusterIP], ports[s.Spec.Ports[0].NodePort] = true, true
		})
	}
	wg.Wait()
	if len(ips) != 62 || failed != 8 {
		t.Errorf("%d addresses, %d failed", len(ips), failed)
	}
}

func TestNodePorts(t *testing.T) {
	e := start(t)
	s := Create(e, service("a", func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.Ports = []corev1.ServicePort{{Name: "t", Port: 53, Protocol: "TCP"}, {Name: "u", Port: 53, Protocol: "UDP"}, {Name: "x", Port: 80, Protocol: "TCP", NodePort: 30005}}
	}))
	if s.Spec.Ports[0].NodePort != s.Spec.Ports[1].NodePort || s.Spec.Ports[2].NodePort != 30005 {
		t.Errorf("%+v", s.Spec.Ports)
	}
	_, err := TryCreate(e, service("b", func(s *corev1.Service) { s.Spec.Type = "NodePort"; s.Spec.Ports[0].NodePort = 30005 }))
	wantErr(t, err, metav1.StatusReasonInvalid, "spec.ports[0].nodePort: Invalid value: 30005: provided port is already allocated")
	_, err = TryCreate(e, service("b", func(s *corev1.Service) { s.Spec.Type = "NodePort"; s.Spec.Ports[0].NodePort = 80 }))
	wantErr(t, err, metav1.StatusReasonInvalid, "provided port is not in the valid range. The range of valid ports is 30000-30063")
	lb := Create(e, service("lb", func(s *corev1.Service) { s.Spec.Type, s.Spec.ExternalTrafficPolicy = "LoadBalancer", "Local" }))
	if lb.Spec.HealthCheckNodePort == 0 || lb.Spec.HealthCheckNodePort == lb.Spec.Ports[0].NodePort {
		t.Errorf("%+v", lb.Spec)
	}
}

func TestResourceQuota(t *testing.T) {
	e := start(t)
	Create(e, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "q"}, Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{"pods": resource.MustParse("5"), "requests.cpu": resource.MustParse("1"), "count/configmaps": resource.MustParse("1")}}})
	cpu := func(name, amount string) *corev1.Pod {
		return pod(func(p *corev1.Pod) {
			p.Name = name
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse(amount)}
		})
	}
	_, err := TryCreate(e, pod(nil))
	wantErr(t, err, metav1.StatusReasonForbidden, `pods "p" is forbidden: failed quota: q: must specify requests.cpu for: c`)
	Create(e, cpu("big", "600m"))
	_, err = TryCreate(e, cpu("bigger", "500m"))
	wantErr(t, err, metav1.StatusReasonForbidden, `exceeded quota: q, requested: requests.cpu=500m, used: requests.cpu=600m, limited: requests.cpu=1`)
	Create(e, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "a"}})
	_, err = TryCreate(e, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "b"}})
	wantErr(t, err, metav1.StatusReasonForbidden, `exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1`)
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for i := range 20 {
		wg.Go(func() {
			if _, err := TryCreate(e, cpu(fmt.Sprint("s", i), "1m")); err == nil {
				mu.Lock()
				made++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if made != 4 {
		t.Errorf("%d pods beside the first, want 4", made)
	}
	// A create that failed holds nothing.
	e.Delete(cpu("big", "1"), nil)
	Create(e, cpu("again", "1m"))
}

func TestNodeRestriction(t *testing.T) {
	e := start(t)
	kubelet := &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes"}}
	admin := e.User
	mine, theirs := Create(e, pod(func(p *corev1.Pod) { p.Spec.NodeName = "n1" })), Create(e, pod(func(p *corev1.Pod) { p.Name, p.Spec.NodeName = "q", "n2" }))
	e.User = kubelet
	node := Create(e, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	if len(node.Spec.Taints) != 1 || node.Spec.Taints[0].Key != "node.kubernetes.io/not-ready" {
		t.Errorf("taints %+v", node.Spec.Taints)
	}
	_, err := TryCreate(e, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}})
	wantErr(t, err, metav1.StatusReasonForbidden, `node "n1" is not allowed to modify node "n2"`)
	tainted := node.DeepCopy()
	tainted.Spec.Taints = nil
	_, err = TryUpdate(e, tainted, "")
	wantErr(t, err, metav1.StatusReasonForbidden, `node "n1" is not allowed to modify taints`)
	labelled := node.DeepCopy()
	labelled.Labels = map[string]string{"kubernetes.io/hostname": "n1", "node-role.kubernetes.io/control-plane": "", "mine": "x"}
	_, err = TryUpdate(e, labelled, "")
	wantErr(t, err, metav1.StatusReasonForbidden, "is not allowed to modify labels: node-role.kubernetes.io/control-plane")
	_, err = TryUpdate(e, theirs, "status")
	wantErr(t, err, metav1.StatusReasonForbidden, `node "n1" can only update pod status for pods with spec.nodeName set to itself`)
	if _, err = TryUpdate(e, mine, "status"); err != nil {
		t.Error(err)
	}
	_, _, err = e.Registry.Delete(e.Ctx, e.Request(theirs), nil)
	wantErr(t, err, metav1.StatusReasonForbidden, `node "n1" can only delete pods with spec.nodeName set to itself`)
	_, err = TryCreate(e, pod(func(p *corev1.Pod) { p.Name = "new" }))
	wantErr(t, err, metav1.StatusReasonForbidden, "can only create mirror pods")
	e.User = admin
	if _, err = TryUpdate(e, tainted, ""); err != nil {
		t.Error(err)
	}
}

func TestNodeGetsTokensOfItsPodsOnly(t *testing.T) {
	e := start(t)
	theirs := Create(e, pod(func(p *corev1.Pod) { p.Spec.NodeName = "n2" }))
	e.User = &user.DefaultInfo{Name: "system:node:n1", Groups: []string{"system:nodes"}}
	plugins, _ := admission.Table(admission.Config{Store: e.Store, Catalogue: e.Catalogue})
	ask := func(ref *authenticationv1.BoundObjectReference) error {
		req := e.Request(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "default"}})
		req.Subresource = "token"
		a := &registry.Attributes{Request: req, Verb: "CREATE", Object: &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: ref}}}
		for _, p := range plugins {
			if p.Validate != nil {
				if err := p.Validate(e.Ctx, a); err != nil {
					return err
				}
			}
		}
		return nil
	}
	wantErr(t, ask(nil), metav1.StatusReasonForbidden, "node requested token not bound to a pod")
	wantErr(t, ask(&authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: theirs.UID}),
		metav1.StatusReasonForbidden, "node requested token bound to a pod scheduled on a different node")
}
