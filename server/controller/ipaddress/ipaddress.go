// Package ipaddress makes an IPAddress object for every cluster IP of every Service, and takes it away with the address.
//
// Admission has decided already that the address is the Service's alone: the objects are for those who look addresses up,
// and for ranges, which do not go before their addresses.
package ipaddress

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

// New returns the controller; its keys are Services, "namespace/name".
func New() controller.Controller {
	return controller.Controller{
		Name:    "service-ip-address-controller",
		Workers: 4,
		Inputs: []controller.Input{
			{Kind: &corev1.Service{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				return []string{e.Object.GetNamespace() + "/" + e.Object.GetName()}
			}},
			{Kind: &networkingv1.IPAddress{}, Keys: func(_ client.Snapshot, e *store.Event) []string {
				return api.ServiceOfIPAddress(e.Object)
			}},
		},
		Reconcile: func(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
			return controller.Result{}, reconcile(ctx, c, key)
		},
	}
}

func reconcile(ctx context.Context, c *client.Client, key string) error {
	snap := c.Snapshot()
	namespace, name, ok := strings.Cut(key, "/")
	if !ok {
		return fmt.Errorf("key %q is not namespace/name", key)
	}
	want := map[string]bool{}
	if svc, ok := client.Get[*corev1.Service](snap, namespace, name); ok {
		for _, ip := range svc.Spec.ClusterIPs {
			if addr, err := netip.ParseAddr(ip); err == nil {
				want[addr.String()] = true
			}
		}
	}
	var errs []error
	for a := range client.ByIndex[*networkingv1.IPAddress](snap, api.IndexIPAddressService, key) {
		if want[a.Name] {
			delete(want, a.Name)
		} else if a.Labels[networkingv1.LabelManagedBy] == api.IPAddressManager {
			errs = append(errs, ignore(c.Delete(ctx, a, metav1.DeleteOptions{}), apierrors.IsNotFound))
		}
	}
	for ip := range want {
		errs = append(errs, claim(ctx, c, snap, ip, namespace, name))
	}
	return errors.Join(errs...)
}

// claim makes the object; one that a former owner of the address left behind makes way.
func claim(ctx context.Context, c *client.Client, snap client.Snapshot, ip, namespace, name string) error {
	if have, ok := client.Get[*networkingv1.IPAddress](snap, "", ip); ok {
		if err := ignore(c.Delete(ctx, have, metav1.DeleteOptions{}), apierrors.IsNotFound); err != nil {
			return err
		}
	}
	family := corev1.IPv4Protocol
	if strings.Contains(ip, ":") {
		family = corev1.IPv6Protocol
	}
	_, err := c.Create(ctx, &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip, Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(family), networkingv1.LabelManagedBy: api.IPAddressManager}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: namespace, Name: name}},
	})
	return ignore(err, apierrors.IsAlreadyExists)
}

func ignore(err error, is func(error) bool) error {
	if is(err) {
		return nil
	}
	return err
}
