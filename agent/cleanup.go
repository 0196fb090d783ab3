package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/agent/podnet"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/netproxy"
	"codeberg.org/skiff/skiff/runtime/container"
	"codeberg.org/skiff/skiff/runtime/image"
	"codeberg.org/skiff/skiff/runtime/snapshot"
)

// CleanUp stops every pod of the node and takes its mounts, cgroups, links and rules out of the kernel. It needs no daemon, and works
// after a crash. Images and the cluster's data stay.
func CleanUp(ctx context.Context, cfg Config) error {
	if _, err := cfg.validate(); err != nil {
		return err
	}
	return errors.Join(removeSandboxes(ctx, cfg), removeNetwork(ctx, cfg), unmountBelow(cfg.Paths))
}

func removeSandboxes(ctx context.Context, cfg Config) error {
	if _, err := os.Stat(cfg.Paths.Containers()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	images, err := image.Open(image.Config{Dir: cfg.Paths.Images(), Log: cfg.Log})
	if err != nil {
		return fmt.Errorf("is skiff still running? stop it first: %w", err)
	}
	snapshots, err := snapshot.Open(cfg.Paths.Snapshots(), images)
	if err != nil {
		return err
	}
	m, err := container.Open(container.Config{StateDir: cfg.Paths.Containers(), RunDir: cfg.Paths.Run, CgroupRoot: cfg.CgroupRoot, Snapshots: snapshots, Logger: cfg.Log})
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range m.List() {
		if err := m.RemoveSandbox(ctx, s.Spec.ID); err != nil {
			errs = append(errs, fmt.Errorf("sandbox %s: %w", s.Spec.ID, err))
		}
	}
	return errors.Join(append(errs, container.RemoveCgroup(cfg.CgroupRoot))...)
}

func removeNetwork(ctx context.Context, cfg Config) error {
	network, err := podnet.New(podnet.Config{NodeName: cfg.NodeName, ClusterCIDRs: []netip.Prefix{standaloneCIDR},
		StateDir: filepath.Join(cfg.Paths.Data, "agent", "network"), Log: cfg.Log})
	if err != nil {
		return err
	}
	proxy, err := netproxy.New(netproxy.Config{NodeName: cfg.NodeName, ClusterCIDRs: []netip.Prefix{standaloneCIDR}, Log: cfg.Log})
	if err != nil {
		return err
	}
	return errors.Join(proxy.CleanUp(ctx), network.CleanUp(ctx))
}

// unmountBelow detaches what is still mounted below the node's directories, the deepest first.
func unmountBelow(p wellknown.Paths) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		fields := strings.Fields(lines[i])
		if len(fields) < 5 {
			continue
		}
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		for _, dir := range []string{filepath.Join(p.Data, "agent"), p.Run} {
			if strings.HasPrefix(point, dir+"/") {
				if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
					errs = append(errs, fmt.Errorf("unmount %s: %w", point, err))
				}
			}
		}
	}
	return errors.Join(errs...)
}
