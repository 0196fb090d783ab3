package main

import (
	"strings"
	"testing"
)

// TestUnknownWords: every command refuses a word, a flag and a value that it does not know, before it does anything.
func TestUnknownWords(t *testing.T) {
	t.Setenv("SKIFF_CONFIG", "")
	dir := t.TempDir()
	for _, c := range commands() {
		if c.name == "kubectl" {
			continue // upstream's, which refuses by itself and ends the process
		}
		for _, args := range [][]string{{"no-such-word"}, {"--no-such-flag"}, {"--data-dir"}} {
			if err := c.run(t.Context(), args); err == nil {
				t.Errorf("skiff %s %s: nothing was said", c.name, strings.Join(args, " "))
			}
		}
	}
	for _, line := range []string{
		"token rotate", "token list", "token create", "token delete x", "token --server extra", "version now",
		"image", "image ls x", "image pull", "image rm", "image frobnicate x", "image ls -o yaml", "image rm -o json x", "image ls --username u", "image pull --password p x",
		"secrets-encrypt", "secrets-encrypt roll", "secrets-encrypt status now", "cleanup now",
		"server --log-level=loud", "server --https-listen-port=x", "server --service-cidr=x", "server --audit-log-format=xml", "server --cluster-cidr=10.0.0.0/33", "agent --log-level=loud", "agent --kubelet-port=x",
	} {
		words := strings.Fields(line)
		for _, c := range commands() {
			if c.name != words[0] {
				continue
			}
			args := append(words[1:], "--data-dir="+dir+"/data", "--run-dir="+dir+"/run", "--config-dir="+dir+"/config", "--log-dir="+dir+"/log")
			if c.name == "version" {
				args = words[1:]
			}
			if c.name == "server" || c.name == "agent" {
				args = append(args, "--node-name=n", "--node-ip=192.0.2.1")
			}
			if err := c.run(t.Context(), args); err == nil {
				t.Errorf("skiff %s: nothing was said", line)
			} else if words[0] == "token" && !strings.Contains(err.Error(), words[len(words)-1]) && !strings.Contains(err.Error(), words[1]) {
				t.Errorf("skiff %s: %v", line, err)
			}
		}
	}
}
