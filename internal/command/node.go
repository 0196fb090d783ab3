package command

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"codeberg.org/skiff/skiff/agent"
	"codeberg.org/skiff/skiff/internal/config"
	"codeberg.org/skiff/skiff/internal/wellknown"
	"codeberg.org/skiff/skiff/runtime/image"
	"codeberg.org/skiff/skiff/runtime/image/imageapi"
	"codeberg.org/skiff/skiff/runtime/snapshot"
	"codeberg.org/skiff/skiff/server"
)

// Image is `skiff image pull|import|ls|rm`: through the running daemon, or on the store itself when there is none.
func Image(ctx context.Context, args []string) error {
	var node agent.Config
	flags, shared := pflag.NewFlagSet("image", pflag.ContinueOnError), pflag.NewFlagSet("image", pflag.ContinueOnError)
	node.AddNodeFlags(shared)
	output := flags.StringP("output", "o", "", "json for a list in JSON")
	username := flags.String("username", "", "user name at the registry (pull)")
	password := flags.String("password", "", "password at the registry (pull)")
	flags.Usage = func() {
		fmt.Fprintf(os.Stderr, "Usage:\n  skiff image pull REF…\n  skiff image import FILE… (docker-archive or OCI archive, - for standard input)\n  skiff image ls [-o json]\n  skiff image rm REF…\n\n%s", flags.FlagUsages())
	}
	if err := config.ParseNode(shared, flags, args, defaultConfig()); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return errors.New("expected pull, import, ls or rm")
	}
	verb, rest := flags.Arg(0), flags.Args()[1:]
	if err := checkImage(flags, verb, rest); err != nil {
		return err
	}
	store := image.Config{Dir: node.Paths.Images(), Registries: node.Paths.RegistriesFile()}
	api, err := imageapi.Connect(agent.ImageSocket(node.Paths), store, func(id string) bool { return snapshot.UsesImage(node.Paths.Snapshots(), id) })
	if err != nil {
		return err
	}
	defer api.Close()
	switch verb {
	case "pull":
		var opts image.PullOptions
		if *username != "" {
			opts.Auths = []image.Auth{{Username: *username, Password: *password}}
		}
		return imageapi.PullCommand(ctx, api, os.Stdout, opts, rest...)
	case "import":
		return imageapi.ImportCommand(ctx, api, os.Stdout, os.Stdin, rest...)
	case "ls":
		return imageapi.ListCommand(ctx, api, os.Stdout, *output == "json")
	case "rm":
		return imageapi.RemoveCommand(ctx, api, os.Stdout, rest...)
	}
	return nil
}

// checkImage refuses what would do nothing: unknown words, and flags of another command word.
func checkImage(flags *pflag.FlagSet, verb string, rest []string) error {
	switch verb {
	case "pull", "import", "rm":
		if len(rest) == 0 {
			return fmt.Errorf("image %s: name at least one image", verb)
		}
	case "ls":
		if len(rest) > 0 {
			return fmt.Errorf("image ls: unexpected argument %q", rest[0])
		}
	default:
		return fmt.Errorf("image: unknown command %q; expected pull, import, ls or rm", verb)
	}
	output, _ := flags.GetString("output")
	switch {
	case output != "" && output != "json":
		return fmt.Errorf("--output: %q is not json", output)
	case output != "" && verb != "ls":
		return fmt.Errorf("image %s: --output is for ls", verb)
	case verb != "pull" && (flags.Changed("username") || flags.Changed("password")):
		return fmt.Errorf("image %s: --username and --password are for pull", verb)
	case flags.Changed("password") && !flags.Changed("username"):
		return errors.New("--password needs --username")
	}
	return nil
}

// CleanUp stops every pod of this node and takes everything out of the kernel again.
func CleanUp(ctx context.Context, args []string) error {
	var node agent.Config
	flags, shared := pflag.NewFlagSet("cleanup", pflag.ContinueOnError), pflag.NewFlagSet("cleanup", pflag.ContinueOnError)
	node.AddFlags(pflag.NewFlagSet("agent", pflag.ContinueOnError)) // the defaults of all that the node does not have to be told here
	node.AddNodeFlags(shared)
	shared.StringVar(&node.CgroupRoot, "cgroup-root", "skiff", "cgroup below which all pods run")
	if err := config.ParseNode(shared, flags, args, defaultConfig()); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if node.NodeName == "" {
		node.NodeName = "cleanup" // no name is needed to clean up
	}
	return agent.CleanUp(ctx, node)
}

// Token prints the token with which agents join this server.
func Token(_ context.Context, args []string) error {
	var node agent.Config
	flags, shared := pflag.NewFlagSet("token", pflag.ContinueOnError), pflag.NewFlagSet("token", pflag.ContinueOnError)
	node.AddNodeFlags(shared)
	full := flags.Bool("server", false, "the token that joins servers, which can administer the cluster")
	if err := config.ParseNode(shared, flags, args, defaultConfig()); err != nil {
		return err
	}
	switch word := flags.Arg(0); word {
	case "":
	case "rotate", "create", "list", "delete":
		return fmt.Errorf("token %s: not there yet; a server has one token for agents and one for servers. To change them, start it with other --agent-token and --token", word)
	default:
		return fmt.Errorf("unexpected argument %q", word)
	}
	token, err := server.JoinToken(node.Paths, *full)
	if err != nil {
		return err
	}
	fmt.Println(token)
	return nil
}

func defaultConfig() string { return wellknown.DefaultPaths().ConfigFile() }
