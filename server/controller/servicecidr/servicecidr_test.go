package servicecidr_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/controller"
	. "codeberg.org/skiff/skiff/server/controller/internal/controllertest"
	"codeberg.org/skiff/skiff/server/controller/ipaddress"
	"codeberg.org/skiff/skiff/server/controller/servicecidr"
	"codeberg.org/skiff/skiff/server/registry/registrytest"
)

func start(t *testing.T) *World {
	w := Start(t, func(now func() time.Time) []controller.Controller {
		return []controller.Controller{servicecidr.New(now, []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}), ipaddress.New()}
	})
	Create(w, cidr("kubernetes", "10.43.0.0/16"))
	ready(w, "kubernetes", true)
	return w
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name},
		Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}}}}
}

func cidr(name, prefix string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{prefix}}}
}

func address(ip string) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: ip}}
}

func ready(w *World, name string, want bool) {
	w.T.Helper()
	w.Eventually(func() string {
		got, ok := registrytest.Get(w.Env, cidr(name, ""))
		if !ok || meta.IsStatusConditionTrue(got.Status.Conditions, "Ready") != want || meta.FindStatusCondition(got.Status.Conditions, "Ready") == nil {
			return name + " does not say what it should of being ready"
		}
		return ""
	})
}

func TestEveryAddressHasItsObject(t *testing.T) {
	w := start(t)
	svc := Create(w, service("web", ""))
	ip := svc.Spec.ClusterIP
	w.Eventually(func() string {
		if !Exists(w, address(ip)) {
			return "no IPAddress " + ip
		}
		return ""
	})
	if p := Get(w, address(ip)).Spec.ParentRef; p.Name != "web" || p.Resource != "services" || p.Namespace != Namespace {
		t.Errorf("its parent is %+v", p)
	}
	w.Idle()
	w.Delete(Get(w, address(ip)), metav1.DeletePropagationBackground)
	w.Eventually(func() string {
		if !Exists(w, address(ip)) {
			return "it was not made again"
		}
		return ""
	})
	// The address goes to another Service at once.
	w.Delete(svc, metav1.DeletePropagationBackground)
	Create(w, service("next", ip))
	w.Eventually(func() string {
		if got, ok := registrytest.Get(w.Env, address(ip)); !ok || got.Spec.ParentRef.Name != "next" {
			return "the address is not the next Service's"
		}
		return ""
	})
	w.Delete(Get(w, service("next", "")), metav1.DeletePropagationBackground)
	w.Eventually(func() string {
		if Exists(w, address(ip)) {
			return "the object outlived the Service"
		}
		return ""
	})
	w.Idle()
}

func TestAnotherRangeCanBeUsedAndGoesWhenItIsNot(t *testing.T) {
	w := start(t)
	ready(w, "kubernetes", true)
	if _, err := registrytest.TryCreate(w.Env, service("early", "10.99.0.7")); err == nil || !strings.Contains(err.Error(), "not in the valid range") {
		t.Fatalf("an address out of range: %v", err)
	}
	Create(w, cidr("more", "10.99.0.0/24"))
	ready(w, "more", true)
	svc := Create(w, service("web", "10.99.0.7"))
	w.Eventually(func() string {
		if !Exists(w, address("10.99.0.7")) {
			return "no object"
		}
		return ""
	})
	w.Delete(Get(w, cidr("more", "")), metav1.DeletePropagationBackground)
	ready(w, "more", false)
	if _, err := registrytest.TryCreate(w.Env, service("late", "10.99.0.8")); err == nil {
		t.Error("a range that is going gave an address")
	}
	w.Idle()
	w.Delete(svc, metav1.DeletePropagationBackground)
	w.Settle()
	w.Advance(11 * time.Second)
	w.Eventually(func() string {
		if Exists(w, cidr("more", "")) {
			return "the range is still there"
		}
		return ""
	})
	w.Idle()
}

func TestTheDefaultRangeComesBack(t *testing.T) {
	w := start(t)
	svc := Create(w, service("web", ""))
	w.Settle()
	w.Delete(Get(w, cidr("kubernetes", "")), metav1.DeletePropagationBackground)
	ready(w, "kubernetes", false)
	Create(w, cidr("same", "10.43.0.0/16"))
	w.Settle()
	w.Advance(11 * time.Second)
	ready(w, "kubernetes", true)
	if !Exists(w, svc) {
		t.Error("the Service is gone")
	}
}
