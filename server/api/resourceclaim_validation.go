package api

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateResourceClaim(r *resourcev1.ResourceClaim) fieldErrors {
	c := &check{}
	c.deviceClaim(at("spec", "devices"), &r.Spec.Devices)
	return c.errs
}

func validateResourceClaimUpdate(r, old *resourcev1.ResourceClaim) fieldErrors {
	c := &check{}
	c.immutable(at("spec"), r.Spec, old.Spec)
	return c.errs
}

// requestNames are a claim's requests, each with its alternatives.
type requestNames map[string][]string

func namesOf(d *resourcev1.DeviceClaim) requestNames {
	names := requestNames{}
	for _, r := range d.Requests {
		names[r.Name] = nil
		for _, f := range r.FirstAvailable {
			names[r.Name] = append(names[r.Name], f.Name)
		}
	}
	return names
}

// has says whether "request" or "request/alternative" exists.
func (n requestNames) has(name string) bool {
	request, alternative, ok := strings.Cut(name, "/")
	subs, found := n[request]
	return found && (!ok || slices.Contains(subs, alternative))
}

func (c *check) requestRef(at *field.Path, name string, known requestNames) {
	const wrong = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	parts := strings.Split(name, "/")
	if len(parts) > 2 {
		c.invalid(at, name, wrong)
		return
	}
	for _, p := range parts {
		c.dnsLabel(at, p)
	}
	if !known.has(name) {
		c.invalid(at, name, wrong)
	}
}

func (c *check) requestRefs(at *field.Path, names []string, known requestNames) {
	eachOnce(c, at, names, resourcev1.DeviceRequestsMaxSize, itself, func(at *field.Path, s *string) { c.requestRef(at, *s, known) })
}

func (c *check) deviceClaim(at *field.Path, d *resourcev1.DeviceClaim) {
	names := namesOf(d)
	eachOnce(c, at.Child("requests"), d.Requests, resourcev1.DeviceRequestsMaxSize,
		func(r *resourcev1.DeviceRequest) string { return r.Name }, c.deviceRequest)
	each(c, at.Child("constraints"), d.Constraints, resourcev1.DeviceConstraintsMaxSize, func(at *field.Path, k *resourcev1.DeviceConstraint) {
		c.requestRefs(at.Child("requests"), k.Requests, names)
		switch {
		case k.MatchAttribute != nil:
			c.fullyQualifiedName(at.Child("matchAttribute"), *k.MatchAttribute)
		case k.DistinctAttribute != nil:
			c.fullyQualifiedName(at.Child("distinctAttribute"), *k.DistinctAttribute)
		default:
			c.required(at, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`)
		}
	})
	each(c, at.Child("config"), d.Config, resourcev1.DeviceConfigMaxSize, func(at *field.Path, cfg *resourcev1.DeviceClaimConfiguration) {
		c.requestRefs(at.Child("requests"), cfg.Requests, names)
		c.deviceConfiguration(at, &cfg.DeviceConfiguration)
	})
}

func (c *check) deviceRequest(at *field.Path, r *resourcev1.DeviceRequest) {
	c.dnsLabel(at.Child("name"), r.Name)
	switch exactly, first := r.Exactly != nil, len(r.FirstAvailable) > 0; {
	case exactly && first:
		c.invalid(at, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set")
	case exactly:
		e, at := r.Exactly, at.Child("exactly")
		c.requested(at, e.DeviceClassName, e.Selectors, e.AllocationMode, e.Count, e.Tolerations, e.Capacity)
	case first:
		eachOnce(c, at.Child("firstAvailable"), r.FirstAvailable, resourcev1.FirstAvailableDeviceRequestMaxSize,
			func(s *resourcev1.DeviceSubRequest) string { return s.Name }, func(at *field.Path, s *resourcev1.DeviceSubRequest) {
				c.dnsLabel(at.Child("name"), s.Name)
				c.requested(at, s.DeviceClassName, s.Selectors, s.AllocationMode, s.Count, s.Tolerations, s.Capacity)
			})
	default:
		c.required(at, "exactly one of `exactly` or `firstAvailable` is required")
	}
}

func (c *check) requested(at *field.Path, class string, selectors []resourcev1.DeviceSelector, mode resourcev1.DeviceAllocationMode,
	count int64, tolerations []resourcev1.DeviceToleration, capacity *resourcev1.CapacityRequirements) {
	c.name(at.Child("deviceClassName"), class, subdomain)
	c.deviceSelectors(at.Child("selectors"), selectors)
	switch mode {
	case resourcev1.DeviceAllocationModeAll:
		if count != 0 {
			c.invalid(at.Child("count"), count, fmt.Sprintf("must not be specified when allocationMode is '%s'", mode))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if count <= 0 {
			c.invalid(at.Child("count"), count, "must be greater than zero")
		}
	default:
		c.add(field.NotSupported(at.Child("allocationMode"), mode,
			[]resourcev1.DeviceAllocationMode{resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount}))
	}
	c.deviceTolerations(at.Child("tolerations"), tolerations)
	if capacity != nil {
		for _, name := range sortedKeys(capacity.Requests) {
			c.qualifiedName(at.Child("capacity", "requests"), string(name))
			if q := capacity.Requests[name]; q.Cmp(resource.Quantity{}) < 0 {
				c.invalid(at.Child("capacity", "requests").Key(string(name)), q.String(), "must be greater than or equal to 0")
			}
		}
	}
}

func validateResourceClaimStatus(r, old *resourcev1.ResourceClaim) fieldErrors {
	c, status, s := &check{}, at("status"), &r.Status
	names := namesOf(&r.Spec.Devices)
	eachOnce(c, status.Child("reservedFor"), s.ReservedFor, resourcev1.ResourceClaimReservedForMaxSize,
		func(u *resourcev1.ResourceClaimConsumerReference) types.UID { return u.UID },
		func(at *field.Path, u *resourcev1.ResourceClaimConsumerReference) {
			c.needs(at.Child("resource"), u.Resource)
			c.needs(at.Child("name"), u.Name)
			c.needs(at.Child("uid"), string(u.UID))
		})
	allocated := map[sharedDevice]bool{}
	for _, res := range claimResults(r) {
		allocated[resultDevice(&res)] = true
	}
	eachOnce(c, status.Child("devices"), s.Devices, -1, statusDevice, func(at *field.Path, d *resourcev1.AllocatedDeviceStatus) {
		c.deviceStatus(at, d, allocated)
	})
	if len(s.ReservedFor) > 0 {
		switch {
		case s.Allocation == nil:
			c.forbidden(status.Child("reservedFor"), "may not be specified when `allocated` is not set")
		case r.DeletionTimestamp != nil && slices.ContainsFunc(s.ReservedFor, func(u resourcev1.ResourceClaimConsumerReference) bool {
			return !slices.Contains(old.Status.ReservedFor, u)
		}):
			c.forbidden(status.Child("reservedFor"), "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set")
		}
	}
	if s.Allocation != nil {
		if old.Status.Allocation != nil {
			c.immutable(status.Child("allocation"), s.Allocation, old.Status.Allocation)
		} else {
			c.allocation(status.Child("allocation"), s.Allocation, names)
		}
	}
	return c.errs
}

func (c *check) allocation(at *field.Path, a *resourcev1.AllocationResult, names requestNames) {
	each(c, at.Child("devices", "results"), a.Devices.Results, resourcev1.AllocationResultsMaxSize,
		func(at *field.Path, r *resourcev1.DeviceRequestAllocationResult) {
			c.requestRef(at.Child("request"), r.Request, names)
			c.driverName(at.Child("driver"), r.Driver)
			c.poolName(at.Child("pool"), r.Pool)
			c.dnsLabel(at.Child("device"), r.Device)
			c.deviceBinding(at, r.BindingConditions, r.BindingFailureConditions)
			c.deviceTolerations(at.Child("tolerations"), r.Tolerations)
			if r.ShareID != nil {
				c.uuid(at.Child("shareID"), string(*r.ShareID))
			}
		})
	each(c, at.Child("devices", "config"), a.Devices.Config, 2*resourcev1.DeviceConfigMaxSize,
		func(at *field.Path, cfg *resourcev1.DeviceAllocationConfiguration) {
			oneOf(c, at.Child("source"), cfg.Source, resourcev1.AllocationConfigSourceClaim, resourcev1.AllocationConfigSourceClass)
			c.requestRefs(at.Child("requests"), cfg.Requests, names)
			c.deviceConfiguration(at, &cfg.DeviceConfiguration)
		})
	if a.NodeSelector != nil {
		c.nodeSelector(at.Child("nodeSelector"), a.NodeSelector)
	}
}

var uuidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

func (c *check) uuid(at *field.Path, id string) {
	if !uuidPattern.MatchString(id) {
		c.invalid(at, id, fmt.Sprintf("error validating uid: invalid UUID length: %d", len(id)))
	} else if id != strings.ToLower(id) {
		c.invalid(at, id, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters")
	}
}

func (c *check) deviceStatus(at *field.Path, d *resourcev1.AllocatedDeviceStatus, allocated map[sharedDevice]bool) {
	c.driverName(at.Child("driver"), d.Driver)
	c.poolName(at.Child("pool"), d.Pool)
	c.dnsLabel(at.Child("device"), d.Device)
	if d.ShareID != nil {
		c.uuid(at.Child("shareID"), *d.ShareID)
	}
	if id := statusDevice(d); !allocated[id] {
		c.invalid(at, id.String(), "must be an allocated device in the claim")
	}
	if len(d.Conditions) > resourcev1.AllocatedDeviceStatusMaxConditions {
		c.add(field.TooMany(at.Child("conditions"), len(d.Conditions), resourcev1.AllocatedDeviceStatusMaxConditions))
	}
	c.add(metavalidation.ValidateConditions(d.Conditions, at.Child("conditions"))...)
	if d.Data != nil && len(d.Data.Raw) > 0 {
		c.jsonObject(at.Child("data"), *d.Data, resourcev1.AllocatedDeviceStatusDataMaxLength)
	}
	n, path := d.NetworkData, at.Child("networkData")
	if n == nil {
		return
	}
	if len(n.InterfaceName) > resourcev1.NetworkDeviceDataInterfaceNameMaxLength {
		c.add(field.TooLong(path.Child("interfaceName"), "", resourcev1.NetworkDeviceDataInterfaceNameMaxLength))
	}
	if len(n.HardwareAddress) > resourcev1.NetworkDeviceDataHardwareAddressMaxLength {
		c.add(field.TooLong(path.Child("hardwareAddress"), "", resourcev1.NetworkDeviceDataHardwareAddressMaxLength))
	}
	eachOnce(c, path.Child("ips"), n.IPs, resourcev1.NetworkDeviceDataMaxIPs, itself, func(at *field.Path, ip *string) {
		c.add(validation.IsValidInterfaceAddress(at, *ip)...)
	})
}
