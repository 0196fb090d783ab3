// Command skiff is a Kubernetes cluster in one executable. This file knows the subcommands and how the parts are put together:
// parse flags → Config → New → Run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	_ "codeberg.org/skiff/skiff/runtime/reexec" // keepers and container processes are this executable, taken over before main

	"codeberg.org/skiff/skiff/agent"
	"codeberg.org/skiff/skiff/internal/command"
	"codeberg.org/skiff/skiff/internal/config"
	"codeberg.org/skiff/skiff/internal/memory"
	"codeberg.org/skiff/skiff/internal/profile"
	"codeberg.org/skiff/skiff/internal/sdnotify"
	"codeberg.org/skiff/skiff/internal/version"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/server"
)

type subcommand struct {
	name, args, help string
	run              func(ctx context.Context, args []string) error
}

func commands() []subcommand {
	return []subcommand{
		{"server", "[flags]", "run a server: etcd, API, controllers, scheduler and, unless disabled, an agent", runServer},
		{"agent", "[flags]", "run an agent: a node that joins a server, or stands alone with pods from files", runAgent},
		{"kubectl", "…", "the Kubernetes command line", command.Kubectl},
		{"image", "pull|import|ls|rm …", "look after the images of this node", command.Image},
		{"token", "[flags]", "print the token that joins an agent to this server", command.Token},
		{"secrets-encrypt", "status|rotate|…", "look after the keys that encrypt what this server stores", command.SecretsEncrypt},
		{"cleanup", "[flags]", "stop every pod of this node and remove its mounts, cgroups, links and rules; data stay", command.CleanUp},
		{"version", "", "print the version", runVersion},
	}
}

func main() {
	// kubectl finds its name in argv[0] when skiff is linked to it.
	if filepath.Base(os.Args[0]) == "kubectl" {
		os.Args = append([]string{"skiff", "kubectl"}, os.Args[1:]...)
	}
	if len(os.Args) > 2 && os.Args[1] == "help" { // skiff help COMMAND
		os.Args = append([]string{os.Args[0], os.Args[2], "--help"}, os.Args[3:]...)
	}
	if len(os.Args) < 2 || os.Args[1] == "help" || os.Args[1] == "-h" || os.Args[1] == "--help" {
		usage(os.Stdout)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, c := range commands() {
		if c.name != os.Args[1] {
			continue
		}
		err := c.run(ctx, os.Args[2:])
		if errors.Is(err, pflag.ErrHelp) {
			return
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "skiff %s: %v\n", c.name, err)
			os.Exit(1)
		}
		return
	}
	fmt.Fprintf(os.Stderr, "skiff: unknown command %q\n\n", os.Args[1])
	usage(os.Stderr)
	os.Exit(2)
}

func usage(w io.Writer) {
	fmt.Fprintf(w, "skiff %s: a Kubernetes (%s) in one executable\n\nUsage: skiff COMMAND\n\n", version.Version, version.Kubernetes)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %-20s %s\n", c.name, c.args, c.help)
	}
	fmt.Fprintln(w, "\nskiff COMMAND --help explains the flags. Every flag is also a key of /etc/skiff/config.yaml and an environment variable SKIFF_….")
}

func runVersion(_ context.Context, args []string) error {
	flags := pflag.NewFlagSet("version", pflag.ContinueOnError)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	fmt.Printf("skiff %s (%s, %s)\nkubernetes %s\nplatform %s\n", version.Version, version.Commit, version.Date, version.Kubernetes, version.Platform())
	return nil
}

// runServer: a server, and on the same machine an agent that talks to it without a network between.
func runServer(ctx context.Context, args []string) error {
	var srv server.Config
	var node agent.Config
	flags := pflag.NewFlagSet("server", pflag.ContinueOnError)
	srv.AddFlags(flags)
	node.AddNodeFlags(flags)
	node.AddFlags(flags)
	disableAgent := flags.Bool("disable-agent", false, "run no node on this machine")
	level := flags.String("log-level", "info", "debug, info, warn or error")
	debug := flags.String("debug-socket", "", "unix socket that serves Go's profiles (net/http/pprof) to root; none: off")
	server.AddUpstreamFlags(flags)
	if err := config.Parse(flags, args, defaultConfig(), []string{"server"}); err != nil {
		return err
	}
	log, err := newLogger(*level)
	if err != nil {
		return err
	}
	if err := node.Complete(); err != nil {
		return err
	}
	if err := node.RememberName(); err != nil {
		return err
	}
	node.Log, srv.Log = log, log
	srv.Paths, srv.NodeName, srv.Features = node.Paths, node.NodeName, node.Features
	srv.Flags = func() map[string]string { return server.RedactedFlags(flags) }
	follow := srv.AdvertiseAddress == "" && node.Addresses != nil
	if srv.AdvertiseAddress == "" {
		srv.AdvertiseAddress = node.NodeIPs[0]
	}
	s, err := server.New(srv)
	if err != nil {
		return err
	}
	if follow {
		defer node.Addresses.OnEvent(func(bool) { s.SetAdvertiseAddress(node.Addresses.List()[0]) })()
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error { return announce(ctx, s.Ready(), log) })
	g.Go(func() error { return profile.Serve(ctx, *debug) })
	g.Go(func() error { return memory.Trim(ctx) })
	switch {
	case !*disableAgent:
		g.Go(func() error { return runLocalAgent(ctx, s, node) })
	case follow:
		g.Go(func() error { return node.Addresses.Run(ctx) })
	}
	return g.Wait()
}

// announce tells the service manager that skiff is up, once ready is closed (nil: at once).
func announce(ctx context.Context, ready <-chan struct{}, log *slog.Logger) error {
	if ready != nil {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil
		}
	}
	if err := sdnotify.Send(sdnotify.Ready); err != nil {
		log.Warn("the service manager does not listen", "error", err)
	}
	return nil
}

// runLocalAgent runs the agent of a server's own machine.
func runLocalAgent(ctx context.Context, s *server.Server, node agent.Config) error {
	member, err := localMembership(s, node)
	if err != nil {
		return err
	}
	a, err := agent.New(node, member)
	if err != nil {
		return err
	}
	select {
	case <-s.Ready():
		return a.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

func localMembership(s *server.Server, node agent.Config) (*agent.Membership, error) {
	c := s.Cluster()
	serving := s.KubeletServing(node.NodeName, func() []string {
		if node.Addresses != nil {
			return node.Addresses.Strings()
		}
		return node.NodeIPs
	})
	return (&agent.Membership{
		Kubelet: s.LocalClient(wellknown.UserNodePrefix+node.NodeName, wellknown.GroupNodes),
		Proxy:   s.LocalClient(wellknown.UserProxy),
		Serving: serving.GetCertificate, Renew: serving.Renew, ClientCAs: s.CA().Pool(),
		ClusterDomain: c.ClusterDomain,
	}).WithNetwork(c.ClusterCIDRs, c.ServiceCIDRs, c.ClusterDNS)
}

// runAgent: a node that joins a server with a token, or stands alone.
func runAgent(ctx context.Context, args []string) error {
	var node agent.Config
	flags := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	node.AddNodeFlags(flags)
	node.AddFlags(flags)
	serverURL := flags.String("server", "", "URL of a server to join, https://HOST:6443; none: stand alone with pods from files")
	token := flags.String("token", "", "token that joins (see `skiff token` on the server)")
	level := flags.String("log-level", "info", "debug, info, warn or error")
	debug := flags.String("debug-socket", "", "unix socket that serves Go's profiles (net/http/pprof) to root; none: off")
	if err := config.Parse(flags, args, defaultConfig(), nil); err != nil {
		return err
	}
	log, err := newLogger(*level)
	if err != nil {
		return err
	}
	if err := node.Complete(); err != nil {
		return err
	}
	node.Log = log
	g, ctx := errgroup.WithContext(ctx)
	// At once: a node runs its pods whether its server can be reached or not, so nothing at boot should wait for a server.
	g.Go(func() error { return announce(ctx, nil, log) })
	g.Go(func() error { return profile.Serve(ctx, *debug) })
	g.Go(func() error { return memory.Trim(ctx) })
	g.Go(func() error {
		if *serverURL != "" {
			return agent.Join(ctx, node, *serverURL, *token)
		}
		if err := node.RememberName(); err != nil {
			return err
		}
		a, err := agent.New(node, nil)
		if err != nil {
			return err
		}
		return a.Run(ctx)
	})
	return g.Wait()
}

func defaultConfig() string { return wellknown.DefaultPaths().ConfigFile() }

func newLogger(level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})), nil
}
