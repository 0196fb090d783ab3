package container

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/devices"
	device "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer/specconv"
)

// devicesOf returns the device nodes of a container and the cgroup's rules: deny all, then allow what it has. A
// privileged one has all of the host's.
func devicesOf(spec ContainerSpec) (nodes []*device.Device, rules []*device.Rule, err error) {
	if spec.Privileged {
		if nodes, err = devices.HostDevices(); err != nil {
			return nil, nil, fmt.Errorf("list the host's devices: %w", err)
		}
		rules = []*device.Rule{{Type: device.WildcardDevice, Major: device.Wildcard, Minor: device.Wildcard, Permissions: "rwm", Allow: true}}
		more, err := wanted(spec.Devices) // under the names that the container wants
		return append(nodes, more...), rules, err
	}
	rules = []*device.Rule{{Type: device.WildcardDevice, Major: device.Wildcard, Minor: device.Wildcard, Permissions: "rwm"}}
	for _, d := range specconv.AllowedDevices {
		if d.Path != "" {
			nodes = append(nodes, d)
		}
		rules = append(rules, &d.Rule)
	}
	more, err := wanted(spec.Devices)
	for _, d := range more {
		nodes = append(nodes, d)
		rules = append(rules, &d.Rule)
	}
	return nodes, rules, err
}

func wanted(list []Device) (out []*device.Device, err error) {
	for _, want := range list {
		got, err := hostDevices(want)
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
	}
	return out, nil
}

// hostDevices finds a device, or all devices below a folder such as /dev/dri.
func hostDevices(want Device) ([]*device.Device, error) {
	permissions := want.Permissions
	if permissions == "" {
		permissions = "rwm"
	}
	target := want.ContainerPath
	if target == "" {
		target = want.HostPath
	}
	path, err := filepath.EvalSymlinks(want.HostPath)
	if err != nil {
		return nil, fmt.Errorf("find device: %w", err)
	}
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		all, err := devices.GetDevices(path)
		if err != nil {
			return nil, fmt.Errorf("list devices below %s: %w", path, err)
		}
		for _, d := range all {
			rel, _ := filepath.Rel(path, d.Path)
			d.Path = filepath.Join(target, rel)
			d.Permissions, d.Allow = device.Permissions(permissions), true
		}
		return all, nil
	}
	d, err := devices.DeviceFromPath(path, permissions)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", want.HostPath, err)
	}
	d.Path, d.Allow = target, true
	return []*device.Device{d}, nil
}
