package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"codeberg.org/skiff/skiff/agent/dns"
	"codeberg.org/skiff/skiff/agent/kubelet/logind"
	"codeberg.org/skiff/skiff/agent/kubelet/volume"
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
	return errors.Join(removeSandboxes(ctx, cfg), removeNetwork(ctx, cfg), unmount(cfg.Paths), logind.RemoveConfig())
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
	return errors.Join(removeAll(ctx, m), container.RemoveCgroup(cfg.CgroupRoot))
}

// removeAll removes the sandboxes side by side, while the manager listens to what their keepers tell of the end.
func removeAll(ctx context.Context, m *container.Manager) error {
	listen, stop := context.WithCancel(ctx)
	var manager sync.WaitGroup
	var listenErr error
	manager.Go(func() { listenErr = m.Run(listen) })
	all := m.List()
	errs := make([]error, len(all))
	var g errgroup.Group
	g.SetLimit(8)
	for i, s := range all {
		g.Go(func() error {
			if err := m.RemoveSandbox(ctx, s.Spec.ID); err != nil {
				errs[i] = fmt.Errorf("sandbox %s: %w", s.Spec.ID, err)
			}
			return nil
		})
	}
	_ = g.Wait()
	stop()
	manager.Wait()
	return errors.Join(append(errs, listenErr)...)
}

func removeNetwork(ctx context.Context, cfg Config) error {
	network, err := podnet.New(podnet.Config{NodeName: cfg.NodeName, ClusterCIDRs: []netip.Prefix{standaloneCIDR},
		StateDir: filepath.Join(cfg.Paths.Data, "agent", "network"), Log: cfg.Log})
	if err != nil {
		return err
	}
	return errors.Join(netproxy.CleanUp(ctx), network.CleanUp(ctx), dns.CleanUp())
}

// unmount takes away what is mounted inside the node's directories; a directory that the administrator mounted stays.
func unmount(p wellknown.Paths) error {
	var inside []string
	for _, dir := range []string{p.Snapshots(), p.Containers(), p.Pods(), p.Run} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			inside = append(inside, filepath.Join(dir, e.Name()))
		}
	}
	return volume.UnmountAll(inside...)
}
