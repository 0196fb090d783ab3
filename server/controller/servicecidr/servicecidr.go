// Package servicecidr looks after ServiceCIDRs: the default one, "kubernetes", is there; each says that it is ready, and
// does not go while it is the only one that holds an address some Service has.
//
// It hands out no addresses: admission does, from the ranges that are there and are not going.
package servicecidr

import (
	"context"
	"net/netip"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/controller"
	"codeberg.org/skiff/skiff/server/store"
)

const (
	// Default is the name of the range that the server was started with.
	Default   = "kubernetes"
	finalizer = "networking.k8s.io/service-cidr-finalizer"
	// grace is how long a range that is going stays, so that no address is given out of it meanwhile.
	grace = 10 * time.Second
)

// New returns the controller; its keys are the names of ServiceCIDRs. ranges is what the default one holds.
func New(now func() time.Time, ranges []netip.Prefix) controller.Controller {
	l := &loop{now: now}
	for _, r := range ranges {
		l.ranges = append(l.ranges, r.Masked().String())
	}
	return controller.Controller{
		Name: "service-cidrs-controller",
		Inputs: []controller.Input{
			{Kind: &networkingv1.ServiceCIDR{}, Keys: func(s client.Snapshot, e *store.Event) []string {
				return append(going(s), e.Object.GetName())
			}},
			{Kind: &networkingv1.IPAddress{}, Keys: func(s client.Snapshot, e *store.Event) []string {
				if e.Type != store.Deleted {
					return nil
				}
				return going(s)
			}},
		},
		Reconcile: l.reconcile,
	}
}

// going are the ranges whose end may have come closer.
func going(s client.Snapshot) (names []string) {
	for r := range client.List[*networkingv1.ServiceCIDR](s, "") {
		if r.DeletionTimestamp != nil {
			names = append(names, r.Name)
		}
	}
	return names
}

type loop struct {
	now    func() time.Time
	ranges []string
}

func (l *loop) reconcile(ctx context.Context, c *client.Client, key string) (controller.Result, error) {
	snap := c.Snapshot()
	r, ok := client.Get[*networkingv1.ServiceCIDR](snap, "", key)
	switch {
	case !ok && key == Default && len(l.ranges) > 0:
		_, err := c.Create(ctx, &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: Default}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: l.ranges}})
		if apierrors.IsAlreadyExists(err) {
			err = nil
		}
		return controller.Result{}, err
	case !ok:
		return controller.Result{}, nil
	case r.DeletionTimestamp != nil:
		return l.end(ctx, c, snap, r)
	case !slices.Contains(r.Finalizers, finalizer):
		var err error
		if r, err = client.Change(ctx, c, r, "", func(r *networkingv1.ServiceCIDR) { r.Finalizers = append(r.Finalizers, finalizer) }); err != nil {
			return controller.Result{}, err
		}
	}
	message := "Kubernetes Service CIDR is ready"
	if key == Default {
		message = "Kubernetes default Service CIDR is ready"
	}
	return controller.Result{}, l.say(ctx, c, r, metav1.ConditionTrue, "", message)
}

// end lets a range go when nothing needs it, after its grace.
func (l *loop) end(ctx context.Context, c *client.Client, snap client.Snapshot, r *networkingv1.ServiceCIDR) (controller.Result, error) {
	if !slices.Contains(r.Finalizers, finalizer) {
		return controller.Result{}, nil
	}
	if needed(r, slices.Collect(client.List[*networkingv1.ServiceCIDR](snap, "")), slices.Collect(client.List[*networkingv1.IPAddress](snap, ""))) {
		return controller.Result{}, l.say(ctx, c, r, metav1.ConditionFalse, networkingv1.ServiceCIDRReasonTerminating,
			"There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR")
	}
	if wait := grace - l.now().Sub(r.DeletionTimestamp.Time); wait > 0 {
		return controller.Result{After: wait}, nil
	}
	_, err := client.Change(ctx, c, r, "", func(r *networkingv1.ServiceCIDR) {
		r.Finalizers = slices.DeleteFunc(r.Finalizers, func(f string) bool { return f == finalizer })
	})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return controller.Result{}, err
}

func (l *loop) say(ctx context.Context, c *client.Client, r *networkingv1.ServiceCIDR, status metav1.ConditionStatus, reason, message string) error {
	have := meta.FindStatusCondition(r.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	if have != nil && have.Status == status && have.Reason == reason && have.Message == message {
		return nil
	}
	_, err := client.Change(ctx, c, r, "status", func(r *networkingv1.ServiceCIDR) {
		meta.SetStatusCondition(&r.Status.Conditions, metav1.Condition{Type: networkingv1.ServiceCIDRConditionReady, Status: status,
			Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(l.now())})
	})
	return err
}

// needed says whether a Service's address lies in r and in no other range that stays.
func needed(r *networkingv1.ServiceCIDR, all []*networkingv1.ServiceCIDR, addresses []*networkingv1.IPAddress) bool {
	var own, others []netip.Prefix
	for _, s := range all {
		for _, cidr := range s.Spec.CIDRs {
			p, err := netip.ParsePrefix(cidr)
			switch {
			case err != nil:
			case s.Name == r.Name:
				own = append(own, p)
			case s.DeletionTimestamp == nil:
				others = append(others, p)
			}
		}
	}
	holds := func(list []netip.Prefix, ip netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	return slices.ContainsFunc(addresses, func(a *networkingv1.IPAddress) bool {
		ip, err := netip.ParseAddr(a.Name)
		return err == nil && a.Labels[networkingv1.LabelManagedBy] != "" && holds(own, ip) && !holds(others, ip)
	})
}
