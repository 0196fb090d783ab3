// Command cluster runs a program against a cluster that exists for it only: nodes in network namespaces of this machine, with images
// imported and served by a registry, which are gone when the program has ended. It needs root. The program runs on the first node,
// with KUBECONFIG set.
//
//	cluster -skiff bin/skiff -nodes 2 -images 'images/*.tar' -- kubectl get nodes
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"codeberg.org/skiff/skiff/scripts/testbox"
)

func main() {
	skiff := flag.String("skiff", "bin/skiff", "executable")
	nodes := flag.Int("nodes", 1, "number of nodes; the first is the server")
	images := flag.String("images", "", "archives to import on every node and to serve as a registry, a glob pattern")
	flag.Parse()
	if os.Getuid() != 0 || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage (as root): cluster [flags] -- PROGRAM ARGUMENT…")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, *skiff, *nodes, *images, flag.Args())
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, skiff string, count int, images string, program []string) (err error) {
	if skiff, err = filepath.Abs(skiff); err != nil {
		return err
	}
	archives, err := filepath.Glob(images)
	if err != nil {
		return err
	}
	box, err := testbox.New(skiff)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	registries, err := mirror(box, archives)
	if err != nil {
		return err
	}
	var first *testbox.Node
	for i := range count {
		node, err := box.Node(fmt.Sprintf("n%d", i+1))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(node.RegistriesFile()), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(node.RegistriesFile(), []byte(registries), 0o644); err != nil {
			return err
		}
		if first == nil {
			first = node
			err = node.Start("server")
		} else {
			err = node.Join(first)
		}
		if err == nil {
			err = first.WaitReady(time.Minute, node.Name)
		}
		for _, a := range archives {
			if err == nil {
				err = node.Import(a)
			}
		}
		if err != nil {
			log, _ := os.ReadFile(node.LogFile())
			return fmt.Errorf("node %s: %w\n%s", node.Name, err, log)
		}
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + first.NetNS(), "--"}, program...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+first.Kubeconfig())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd.Run()
}
