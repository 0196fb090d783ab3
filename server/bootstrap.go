package server

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/rbac"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller/legacytokencleaner"
	"codeberg.org/skiff/skiff/server/controller/servicecidr"
	"codeberg.org/skiff/skiff/server/store"
)

// bootstrap makes what a cluster begins with and puts right what must not be missing. It runs at every start and changes
// nothing that is as it should be.
func (s *Server) bootstrap(ctx context.Context) error {
	c := s.client
	for _, obj := range s.firstObjects() {
		if err := ensure(ctx, c, obj); err != nil {
			return fmt.Errorf("bootstrap %T %s: %w", obj, obj.GetName(), err)
		}
	}
	for _, want := range rbac.Bootstrap() {
		if err := ensureRole(ctx, c, want); err != nil {
			return fmt.Errorf("bootstrap %T %s: %w", want, want.GetName(), err)
		}
	}
	if err := s.publishClusterInfo(ctx); err != nil {
		return fmt.Errorf("bootstrap cluster-info: %w", err)
	}
	return s.publishAddress(ctx)
}

func (s *Server) firstObjects() []api.Object {
	var all []api.Object
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		all = append(all, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	for name, value := range map[string]int32{"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000} {
		all = append(all, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value,
			Description: "Used for system critical pods that must run in the cluster."})
	}
	for _, name := range []string{"controller-manager", "scheduler", "etcd-0"} {
		all = append(all, &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name},
			Conditions: []corev1.ComponentCondition{{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}}})
	}
	var ranges []string
	for _, r := range s.network.service {
		ranges = append(ranges, r.Masked().String())
	}
	all = append(all, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: legacytokencleaner.TrackingConfigMap},
		Data: map[string]string{legacytokencleaner.TrackingKey: s.cfg.Now().UTC().Format(time.DateOnly)}})
	all = append(all, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: servicecidr.Default}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: ranges}})
	return append(all,
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"}},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: s.network.apiService.String(),
				Ports: []corev1.ServicePort{{Name: "https", Protocol: corev1.ProtocolTCP, Port: 443, TargetPort: intstr.FromInt32(int32(s.cfg.Port))}}},
		},
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "kube-dns", Labels: map[string]string{"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS", "kubernetes.io/cluster-service": "true"}},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: s.network.dns.String(),
				Ports: []corev1.ServicePort{
					{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(53)},
					{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt32(53)},
				}},
		},
	)
}

// ensure creates an object unless it is there.
func ensure(ctx context.Context, c *client.Client, obj api.Object) error {
	if c.Snapshot().Snapshot.Get(c.KindOf(obj), obj.GetNamespace(), obj.GetName()) != nil {
		return nil
	}
	_, err := c.Create(ctx, obj)
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

func ensureRole(ctx context.Context, c *client.Client, want api.Object) error {
	have := c.Snapshot().Snapshot.Get(c.KindOf(want), want.GetNamespace(), want.GetName())
	if have == nil {
		return ensure(ctx, c, want)
	}
	next := rbac.Reconcile(have, want)
	if next == nil {
		return nil
	}
	_, err := c.Update(ctx, next)
	return err
}

// publishAddress tells in both endpoint APIs where the Service default/kubernetes leads. It leads nowhere when only this
// machine can reach the server, as in tests of operators.
func (s *Server) publishAddress(ctx context.Context) error {
	name, protocol, port := "https", corev1.ProtocolTCP, int32(s.cfg.Port)
	ready, address := true, s.advertised()
	if address.IsLoopback() || address.IsUnspecified() || address.IsLinkLocalUnicast() || address.IsLinkLocalMulticast() {
		s.cfg.Log.Warn("pods cannot reach this server: the advertised address cannot be an endpoint", "address", address)
		return nil
	}
	family := discoveryv1.AddressTypeIPv4
	if address.Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	meta := metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "kubernetes", Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}}
	endpoints := &corev1.Endpoints{ObjectMeta: meta, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: address.String()}},
		Ports:     []corev1.EndpointPort{{Name: name, Port: port, Protocol: protocol}},
	}}}
	meta.Labels = map[string]string{discoveryv1.LabelServiceName: "kubernetes"}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: family,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:     []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	if err := s.replace(ctx, endpoints, func(have api.Object) bool {
		return equality.Semantic.DeepEqual(have.(*corev1.Endpoints).Subsets, endpoints.Subsets)
	}); err != nil {
		return err
	}
	return s.replace(ctx, slice, func(have api.Object) bool {
		old := have.(*discoveryv1.EndpointSlice)
		return equality.Semantic.DeepEqual(old.Ports, slice.Ports) && len(old.Endpoints) == 1 && equality.Semantic.DeepEqual(old.Endpoints[0].Addresses, slice.Endpoints[0].Addresses)
	})
}

func (s *Server) replace(ctx context.Context, want api.Object, same func(have api.Object) bool) error {
	c := s.client
	have := c.Snapshot().Snapshot.Get(c.KindOf(want), want.GetNamespace(), want.GetName())
	switch {
	case have == nil:
		return ensure(ctx, c, want)
	case same(have):
		return nil
	}
	want.SetResourceVersion(have.GetResourceVersion())
	_, err := c.Update(ctx, want)
	return err
}

// retry runs do until it succeeds or ctx ends; the store may be without a leader for a while.
func retry(ctx context.Context, do func(context.Context) error, failed func(error)) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := do(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		failed(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// hostNames splits names and addresses for a certificate.
func hostNames(list []string) (names []string, addresses []netip.Addr) {
	for _, s := range list {
		if addr, err := netip.ParseAddr(strings.TrimSpace(s)); err == nil {
			addresses = append(addresses, addr)
		} else if s != "" {
			names = append(names, s)
		}
	}
	return names, addresses
}

// labelOwnNode marks this machine's node as part of the control plane; a kubelet may not say that of itself.
func (s *Server) labelOwnNode(ctx context.Context) error {
	kind := s.client.KindOf(&corev1.Node{})
	w, err := s.client.Watch(ctx, store.WatchOptions{Kinds: []*api.Kind{kind}, From: s.client.Snapshot().Revision()})
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		if node, ok := client.Get[*corev1.Node](s.client.Snapshot(), "", s.cfg.NodeName); ok {
			if _, labelled := node.Labels[wellknown.LabelControlPlane]; labelled {
				return nil
			}
			_, err := s.client.Mutate(ctx, node, "", func(obj api.Object) error {
				labels := obj.GetLabels()
				labels[wellknown.LabelControlPlane] = "true"
				obj.SetLabels(labels)
				return nil
			})
			return err
		}
		if _, ok := <-w.Events(); !ok {
			return w.Err()
		}
	}
}
