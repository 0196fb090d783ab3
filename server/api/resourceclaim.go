package api

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
)

func resourceClaim() *Kind {
	type claim = *resourcev1.ResourceClaim
	return &Kind{
		Group: "resource.k8s.io", Kind: "ResourceClaim", Plural: "resourceclaims", Singular: "resourceclaim", Namespaced: true,
		Versions: []Version{typed[resourcev1.ResourceClaim, resourcev1.ResourceClaimList]("resource.k8s.io", "v1")},
		Prefix:   "/registry/resourceclaims",
		Strategy: Strategy{
			Default: do(func(r claim) { defaultDeviceClaim(&r.Spec.Devices) }),
			PrepareCreate: do(func(r claim) {
				r.Status = resourcev1.ResourceClaimStatus{}
				dropAlphaRequests(&r.Spec.Devices)
			}),
			PrepareUpdate: doPair(func(r, old claim) {
				r.Status = old.Status
				dropAlphaRequests(&r.Spec.Devices)
			}),
			Validate:                 one(validateResourceClaim),
			ValidateUpdate:           pair(validateResourceClaimUpdate),
			AllowUnconditionalUpdate: true,
		},
		Subresources: []Subresource{statusAlone(setClaimStatus, validateResourceClaimStatus)},
		Columns: []Column{
			str("State", "whether it has devices, and users", claimState),
			age(),
		},
	}
}

func claimState(r *resourcev1.ResourceClaim) string {
	var states []string
	if r.DeletionTimestamp != nil {
		states = append(states, "deleted")
	}
	switch {
	case r.Status.Allocation == nil && r.DeletionTimestamp == nil:
		states = append(states, "pending")
	case r.Status.Allocation != nil:
		states = append(states, "allocated")
		if len(r.Status.ReservedFor) > 0 {
			states = append(states, "reserved")
		}
	}
	return strings.Join(states, ",")
}

// setClaimStatus copies a status; the state of devices that the claim no longer has goes.
func setClaimStatus(to, from *resourcev1.ResourceClaim) {
	gone := map[sharedDevice]bool{}
	for _, r := range claimResults(to) {
		gone[resultDevice(&r)] = true
	}
	to.Status = from.Status
	for _, r := range claimResults(to) {
		delete(gone, resultDevice(&r))
	}
	var kept []resourcev1.AllocatedDeviceStatus
	for _, d := range to.Status.Devices {
		if !gone[statusDevice(&d)] {
			kept = append(kept, d)
		}
	}
	to.Status.Devices = kept
	if a := to.Status.Allocation; a != nil {
		for i := range a.Devices.Results {
			a.Devices.Results[i].SkipNodeOperations = nil // alpha
		}
	}
}

func claimResults(r *resourcev1.ResourceClaim) []resourcev1.DeviceRequestAllocationResult {
	if r.Status.Allocation == nil {
		return nil
	}
	return r.Status.Allocation.Devices.Results
}

// sharedDevice names a device, or a share of one.
type sharedDevice struct{ driver, pool, device, share string }

func resultDevice(r *resourcev1.DeviceRequestAllocationResult) sharedDevice {
	return sharedDevice{r.Driver, r.Pool, r.Device, string(deref(r.ShareID))}
}

func statusDevice(d *resourcev1.AllocatedDeviceStatus) sharedDevice {
	return sharedDevice{d.Driver, d.Pool, d.Device, deref(d.ShareID)}
}

func (d sharedDevice) String() string {
	s := d.driver + "/" + d.pool + "/" + d.device
	if d.share != "" {
		s += "/" + d.share
	}
	return s
}

func defaultDeviceClaim(d *resourcev1.DeviceClaim) {
	request := func(mode *resourcev1.DeviceAllocationMode, count *int64, tolerations []resourcev1.DeviceToleration) {
		blank(mode, resourcev1.DeviceAllocationModeExactCount)
		if *mode == resourcev1.DeviceAllocationModeExactCount {
			blank(count, 1)
		}
		defaultDeviceTolerations(tolerations)
	}
	for i := range d.Requests {
		r := &d.Requests[i]
		if e := r.Exactly; e != nil {
			request(&e.AllocationMode, &e.Count, e.Tolerations)
		}
		for j := range r.FirstAvailable {
			f := &r.FirstAvailable[j]
			request(&f.AllocationMode, &f.Count, f.Tolerations)
		}
	}
}

func defaultDeviceTolerations(list []resourcev1.DeviceToleration) {
	for i := range list {
		blank(&list[i].Operator, resourcev1.DeviceTolerationOpEqual)
	}
}

// dropAlphaRequests: attributes that a request computes are an alpha feature.
func dropAlphaRequests(d *resourcev1.DeviceClaim) {
	for i := range d.Requests {
		if e := d.Requests[i].Exactly; e != nil {
			e.DerivedAttributes = nil
		}
		for j := range d.Requests[i].FirstAvailable {
			d.Requests[i].FirstAvailable[j].DerivedAttributes = nil
		}
	}
}
