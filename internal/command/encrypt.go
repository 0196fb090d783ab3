package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/pflag"

	"codeberg.org/skiff/skiff/agent"
	"codeberg.org/skiff/skiff/internal/config"
	"codeberg.org/skiff/skiff/server"
)

var encryptVerbs = []string{"status", "rotate", "enable", "disable", "reencrypt"}

// SecretsEncrypt is `skiff secrets-encrypt status|rotate|enable|disable|reencrypt`, on a server, which goes on running.
func SecretsEncrypt(ctx context.Context, args []string) error {
	var node agent.Config
	flags, shared := pflag.NewFlagSet("secrets-encrypt", pflag.ContinueOnError), pflag.NewFlagSet("secrets-encrypt", pflag.ContinueOnError)
	node.AddNodeFlags(shared)
	flags.Usage = func() {
		fmt.Fprintf(os.Stderr, `Usage:
  skiff secrets-encrypt status      what is encrypted, and with which key
  skiff secrets-encrypt rotate      make a new key, write everything again with it, forget the old one
  skiff secrets-encrypt disable     write everything unencrypted; the key is kept
  skiff secrets-encrypt enable      encrypt everything again
  skiff secrets-encrypt reencrypt   finish what was cut off (with a configuration of your own: write everything by its first key)

Keep a copy of the key file with your backups of etcd, and apart from them: without it they cannot be read.

%s`, flags.FlagUsages())
	}
	if err := config.ParseNode(shared, flags, args, defaultConfig()); err != nil {
		return err
	}
	if flags.NArg() != 1 || !slices.Contains(encryptVerbs, flags.Arg(0)) {
		flags.Usage()
		return errors.New("expected status, rotate, enable, disable or reencrypt")
	}
	return server.EncryptionCommand(ctx, node.Paths, flags.Arg(0), os.Stdout)
}
