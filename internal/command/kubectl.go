// Package command holds the subcommands that do one thing and end: kubectl, image, token, cleanup. The long-running ones are put
// together in main.go.
package command

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	_ "codeberg.org/skiff/skiff/internal/command/language" // before kubectl's own packages
	"codeberg.org/skiff/skiff/internal/wellknown"
)

// Kubectl is the real kubectl. Without a kubeconfig of the user's own it uses the administrator's of this machine.
func Kubectl(_ context.Context, args []string) error {
	signal.Reset(os.Interrupt, syscall.SIGTERM) // nothing in kubectl looks at our context: signals end it, or it handles them itself
	if os.Getenv("KUBECONFIG") == "" && !exists(filepath.Join(os.Getenv("HOME"), ".kube", "config")) {
		if file := wellknown.DefaultPaths().AdminKubeconfig(); exists(file) {
			if err := os.Setenv("KUBECONFIG", file); err != nil {
				return err
			}
		}
	}
	os.Args = append([]string{"kubectl"}, args...)
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		cmdutil.CheckErr(err) // prints it as kubectl does and exits
	}
	return nil
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
