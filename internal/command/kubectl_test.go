package command

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubectl "k8s.io/kubectl/pkg/cmd"
)

// Help is made by templates that look methods up by name, which the linker must have kept (scripts/slim).
func TestHelpOfEveryCommand(t *testing.T) {
	root := kubectl.NewKubectlCommand(kubectl.KubectlOptions{IOStreams: genericiooptions.NewTestIOStreamsDiscard()})
	count := 0
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		count++
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetErr(&out)
		if err := c.Help(); err != nil {
			t.Errorf("%s: %v", c.CommandPath(), err)
		}
		text := out.String()
		usage := c.Runnable() && c.HasParent() && c.Name() != "options" // which has no help of its own
		if strings.Contains(text, "can't evaluate") || usage && !strings.Contains(text, "Usage:") {
			t.Errorf("%s --help: %s", c.CommandPath(), text)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	if count < 80 {
		t.Errorf("%d commands only", count)
	}
}
