package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

type options struct {
	server string
	labels []string
	port   int
}

func parse(t *testing.T, file, env string, args ...string) (options, error) {
	t.Helper()
	var o options
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.StringVar(&o.server, "server", "none", "")
	flags.StringSliceVar(&o.labels, "node-label", nil, "")
	flags.IntVar(&o.port, "port", 1, "")
	path := filepath.Join(t.TempDir(), "config.yaml")
	if file != "" {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if env != "" {
		t.Setenv("SKIFF_PORT", env)
	}
	return o, func() error { err := Parse(flags, args, path, []string{"token"}); return err }()
}

func TestOrder(t *testing.T) {
	var o options
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.StringVar(&o.server, "server", "none", "")
	flags.StringSliceVar(&o.labels, "node-label", []string{"default=1"}, "")
	flags.IntVar(&o.port, "port", 1, "")
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("server: file\nport: 2\nnode-label: [a=1, b=2]\ntoken: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SKIFF_PORT", "3")
	if err := Parse(flags, []string{"--server=line"}, path, []string{"token"}); err != nil {
		t.Fatal(err)
	}
	if o.server != "line" || o.port != 3 || strings.Join(o.labels, " ") != "a=1 b=2" {
		t.Errorf("got %+v; want the line's server, the environment's port, the file's labels", o)
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct{ file, env, want string }{
		"unknown key":  {file: "sever: x", want: `unknown key "sever"`},
		"wrong type":   {file: "port: abc", want: `key "port"`},
		"nested":       {file: "port: {a: b}", want: `key "port"`},
		"list for one": {file: "port: [1, 2]", want: "takes one value"},
		"not yaml":     {file: "a: [", want: "config.yaml"},
		"environment":  {env: "x", want: "SKIFF_PORT"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(t, c.file, c.env); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want one with %q", err, c.want)
			}
		})
	}
}

func TestNamedFileMustExist(t *testing.T) {
	if _, err := parse(t, "", "", "--config=/nonexistent/x.yaml"); err == nil {
		t.Error("a file that was asked for and is missing was ignored")
	}
}

func TestParseNode(t *testing.T) {
	var data, run string
	var server bool
	node, flags := pflag.NewFlagSet("node", pflag.ContinueOnError), pflag.NewFlagSet("test", pflag.ContinueOnError)
	node.StringVar(&data, "data-dir", "default", "")
	node.StringVar(&run, "run-dir", "default", "")
	flags.BoolVar(&server, "server", false, "")
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("server: https://10.0.0.1:6443\ndata-dir: file\nrun-dir: file\nunknown: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SKIFF_SERVER", "https://10.0.0.1:6443")
	if err := ParseNode(node, flags, []string{"--run-dir=line", "file.tar"}, path); err != nil {
		t.Fatal(err)
	}
	if data != "file" || run != "line" || server || flags.Arg(0) != "file.tar" {
		t.Errorf("data %q, run %q, server %v, arguments %q; want the file's, the line's, the default, file.tar", data, run, server, flags.Args())
	}
}

// TestFolder: files beside the first are read in the order of their names; a plus adds to a list.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"config.yaml":              "server: first\nport: 1\nnode-label: [a=1]\n",
		"config.yaml.d/10-a.yaml":  "server: second\nnode-label+: [b=2]\n",
		"config.yaml.d/20-b.yml":   "node-label+: c=3\n",
		"config.yaml.d/.x.yaml":    "server: hidden\n",
		"config.yaml.d/readme.txt": "no: [yaml",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for what, args := range map[string][]string{"default": nil, "named": {"--config=" + filepath.Join(dir, "config.yaml")}, "folder": {"--config-dir=" + dir}} {
		var o options
		var folder string
		flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
		flags.StringVar(&o.server, "server", "none", "")
		flags.StringVar(&folder, "config-dir", "/etc/nowhere", "")
		flags.StringSliceVar(&o.labels, "node-label", []string{"default=1"}, "")
		flags.IntVar(&o.port, "port", 1, "")
		file := filepath.Join(dir, "config.yaml")
		if what != "default" {
			file = "/nonexistent/config.yaml"
		}
		if err := Parse(flags, args, file, nil); err != nil {
			t.Fatal(what, err)
		}
		if o.server != "second" || strings.Join(o.labels, " ") != "a=1 b=2 c=3" {
			t.Errorf("%s: %+v", what, o)
		}
	}
	// What is wrong is said with the file's name.
	if err := os.WriteFile(filepath.Join(dir, "config.yaml.d", "30-c.yaml"), []byte("port+: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.String("server", "", "")
	flags.StringSlice("node-label", nil, "")
	flags.Int("port", 1, "")
	if err := Parse(flags, nil, filepath.Join(dir, "config.yaml"), nil); err == nil || !strings.Contains(err.Error(), "30-c.yaml") {
		t.Errorf("%v", err)
	}
}
