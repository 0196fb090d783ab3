package e2e

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"codeberg.org/skiff/skiff/scripts/testbox"
)

// shared is the cluster of one node that most tests use.
var shared *cluster

// cluster is a box with a running server.
type cluster struct {
	box     *testbox.Box
	node    *testbox.Node
	config  *rest.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
	mapper  meta.RESTMapper
}

// Images that every node of the tests has.
const (
	busybox = "example/busybox:1"
	webV1   = "example/web:v1"
	webV2   = "example/web:v2"
)

var (
	executable string
	archives   []string
	root       = filepath.Join("..", "..")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getuid() != 0 {
		fmt.Println("the end-to-end tests need root: containers, namespaces and iptables are the kernel's; skipping")
		return
	}
	if f := flag.Lookup("test.parallel"); !explicit("test.parallel") {
		_ = f.Value.Set("8") // they mostly wait
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func explicit(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func run(m *testing.M) (code int, err error) {
	if executable, err = built(); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "skiff-e2e-images-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if archives, err = makeImages(dir); err != nil {
		return 1, err
	}
	if shared, err = newCluster("n1"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, shared.box.Close()) }()
	return m.Run(), nil
}

// built is the executable under test.
func built() (string, error) {
	if path := os.Getenv("SKIFF"); path != "" {
		return filepath.Abs(path)
	}
	path, err := filepath.Abs(filepath.Join(root, "bin", "skiff"))
	if err != nil {
		return "", err
	}
	if stale(path) {
		if out, err := exec.Command("make", "-C", root, "bin/skiff").CombinedOutput(); err != nil {
			return "", fmt.Errorf("build bin/skiff: %w\n%s", err, out)
		}
	}
	return path, nil
}

// stale says whether a source file is newer than the executable.
func stale(path string) bool {
	have, err := os.Stat(path)
	if err != nil {
		return true
	}
	newer := errors.New("newer")
	return filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "scripts" || d.Name() == "testdata" || d.Name() == ".git"):
			return fs.SkipDir
		case strings.HasSuffix(file, "_test.go"):
			return nil
		}
		switch filepath.Ext(file) {
		case ".go", ".c", ".h", ".mod":
			if info, err := d.Info(); err == nil && info.ModTime().After(have.ModTime()) {
				return newer
			}
		}
		return nil
	}) != nil
}

// makeImages packs busybox with all of its programs, and two versions of the example web server.
func makeImages(dir string) (files []string, err error) {
	tool := func(env []string, name string, args ...string) {
		if err != nil {
			return
		}
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), env...)
		if out, e := cmd.CombinedOutput(); e != nil {
			err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), e, out)
		}
	}
	box, err := exec.LookPath("busybox")
	if err != nil {
		return nil, err
	}
	programs, err := exec.Command(box, "--list").Output()
	if err != nil {
		return nil, err
	}
	var links []string
	for _, p := range strings.Fields(string(programs)) {
		if p != "busybox" {
			links = append(links, "/bin/"+p+"=busybox")
		}
	}
	mkimage, at := filepath.Join(dir, "mkimage"), func(name string) string { return filepath.Join(dir, name) }
	tool(nil, "go", "build", "-o", mkimage, filepath.Join(root, "scripts", "mkimage"))
	tool(nil, mkimage, "-o", at("busybox.tar"), "-name", busybox, "-links", strings.Join(links, ","), box+"=/bin/busybox")
	for _, v := range []string{"v1", "v2"} {
		tool([]string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+v, "-o", at("web-"+v), filepath.Join(root, "examples", "web"))
		tool(nil, mkimage, "-o", at("web-"+v+".tar"), "-name", "example/web:"+v, "-entrypoint", "/web", at("web-"+v)+"=/web")
	}
	return []string{at("busybox.tar"), at("web-v1.tar"), at("web-v2.tar")}, err
}

// newCluster starts a server on a node of a new box and brings the images there.
func newCluster(node string, flags ...string) (c *cluster, err error) {
	c = &cluster{}
	if c.box, err = testbox.New(executable); err != nil {
		return nil, err
	}
	if c.node, err = c.box.Node(node); err != nil {
		return nil, errors.Join(err, c.box.Close())
	}
	if err = c.start(flags); err != nil {
		log, _ := os.ReadFile(c.node.LogFile())
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, log), c.box.Close())
	}
	return c, nil
}

func (c *cluster) start(flags []string) (err error) {
	if err = c.node.Start("server", flags...); err != nil {
		return err
	}
	if err = c.node.WaitReady(patience, c.node.Name); err != nil {
		return err
	}
	if err = importAll(c.node); err != nil {
		return err
	}
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.node.Kubeconfig()); err != nil {
		return err
	}
	c.config.QPS, c.config.Dial = -1, c.node.Dial
	if c.client, err = kubernetes.NewForConfig(c.config); err != nil {
		return err
	}
	if c.dynamic, err = dynamic.NewForConfig(c.config); err != nil {
		return err
	}
	found := memory.NewMemCacheClient(c.client.Discovery())
	c.mapper = restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(found), found, nil)
	return nil
}

func importAll(n *testbox.Node) error {
	for _, a := range archives {
		if err := n.Import(a); err != nil {
			return err
		}
	}
	return nil
}
