// Package testbox makes small networks of skiff nodes on one machine: every node in a network namespace of its own, on
// one bridge in another namespace, with all of its directories and its cgroup apart. Nothing of the host's network is
// touched, and Close leaves nothing behind. It needs root, iproute2 and nsenter.
package testbox

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Box is one network.
type Box struct {
	name  string
	dir   string
	skiff string
	nodes []*Node
}

// New makes an empty network. skiff is the path of the executable to test.
func New(skiff string) (*Box, error) {
	var id [3]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	name := "skt" + hex.EncodeToString(id[:])
	dir, err := os.MkdirTemp("", name+"-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // as /var/lib: root of a user namespace passes it as nobody
		return nil, err
	}
	// libcontainer seals the executable behind an overlay; when one folder lies in the other it copies the whole file instead.
	if folder := filepath.Dir(skiff); within(folder, dir) || within(dir, folder) {
		return nil, fmt.Errorf("the executable's folder %s and the box's %s must lie apart", folder, dir)
	}
	b := &Box{name: name, dir: dir, skiff: skiff}
	for _, args := range [][]string{
		{"netns", "add", b.lan()},
		{"-n", b.lan(), "link", "add", "br0", "type", "bridge"},
		{"-n", b.lan(), "addr", "add", LANAddress + "/24", "dev", "br0"},
		{"-n", b.lan(), "link", "set", "br0", "up"},
		{"-n", b.lan(), "link", "set", "lo", "up"},
	} {
		if err := ip(args...); err != nil {
			return nil, errors.Join(err, b.Close())
		}
	}
	return b, nil
}

func (b *Box) lan() string { return b.name + "-lan" }

// Dir is a directory that lives as long as the box.
func (b *Box) Dir() string { return b.dir }

// Nodes of the box, in the order in which they were made.
func (b *Box) Nodes() []*Node { return b.nodes }

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// Close ends every node and pod and removes namespaces, mounts, cgroups and directories. It is an error when something is left.
func (b *Box) Close() error {
	var errs []error
	for _, n := range b.nodes {
		errs = append(errs, n.close())
	}
	errs = append(errs, ip("netns", "del", b.lan()))
	if left := b.settled(); len(left) > 0 {
		// The directory stays: removing it could reach through a mount.
		return errors.Join(append(errs, fmt.Errorf("the box left behind, with %s:\n  %s", b.dir, strings.Join(left, "\n  ")))...)
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// Node makes a machine (namespace, address, directories) without starting skiff on it.
func (b *Box) Node(name string) (*Node, error) {
	n := &Node{Name: name, box: b, IP: fmt.Sprintf("192.168.77.%d", len(b.nodes)+1), dir: filepath.Join(b.dir, name)}
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return nil, err
	}
	ns, host := n.netns(), fmt.Sprintf("%s-%d", b.name, len(b.nodes))
	b.nodes = append(b.nodes, n)
	for _, args := range [][]string{
		{"netns", "add", ns},
		{"-n", ns, "link", "set", "lo", "up"},
		{"-n", ns, "link", "add", "eth0", "type", "veth", "peer", "name", host, "netns", b.lan()},
		{"-n", b.lan(), "link", "set", host, "master", "br0", "up"},
		{"-n", ns, "addr", "add", n.IP + "/24", "dev", "eth0"},
		{"-n", ns, "link", "set", "eth0", "up"},
		{"-n", ns, "route", "add", "default", "via", LANAddress},
	} {
		if err := ip(args...); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Node is one machine of the box.
type Node struct {
	Name, IP string
	box      *Box
	dir      string
	process  *exec.Cmd
	exited   chan struct{}
	// smallDisk: the data directory is a mount.
	smallDisk bool
}

func (n *Node) netns() string { return n.box.name + "-" + n.Name }

// CgroupRoot is the cgroup of this node's pods.
func (n *Node) CgroupRoot() string { return n.netns() }

// Dir holds the node's data, run, config and log directories.
func (n *Node) Dir() string { return n.dir }

// LogFile collects what the daemon prints.
func (n *Node) LogFile() string { return filepath.Join(n.dir, "skiff.log") }

// Kubeconfig is the administrator's, as the server writes it.
func (n *Node) Kubeconfig() string { return filepath.Join(n.dir, "etc", "skiff.yaml") }

// RegistriesFile says how the node reaches registries; it may be written at any time.
func (n *Node) RegistriesFile() string { return filepath.Join(n.dir, "etc", "registries.yaml") }

func (n *Node) dirs() []string {
	return []string{"--data-dir", filepath.Join(n.dir, "lib"), "--run-dir", filepath.Join(n.dir, "run"), "--config-dir", filepath.Join(n.dir, "etc")}
}

// Start runs `skiff role` with the node's own directories and the given flags.
func (n *Node) Start(role string, flags ...string) error {
	args := append([]string{role}, n.dirs()...)
	args = append(args, "--log-dir", filepath.Join(n.dir, "log"), "--cgroup-root", n.CgroupRoot(), "--node-name", n.Name, "--node-ip", n.IP)
	out, err := os.OpenFile(n.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := n.command(context.Background(), n.box.skiff, append(args, flags...)...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	n.process, n.exited = cmd, make(chan struct{})
	go func(done chan struct{}) { _ = cmd.Wait(); close(done) }(n.exited)
	return nil
}

// command runs a program in the node's network namespace.
func (n *Node) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + n.netns(), "--", program}, args...)...)
}

// PID of the daemon.
func (n *Node) PID() int { return n.process.Process.Pid }

// Kill ends the daemon at once, as a crash would; its pods live on.
func (n *Node) Kill() error {
	err := n.process.Process.Kill()
	<-n.exited
	return err
}

// Stop asks the daemon to end; its pods live on.
func (n *Node) Stop() error {
	if n.process == nil {
		return nil
	}
	_ = n.process.Process.Signal(os.Interrupt)
	select {
	case <-n.exited:
		return nil
	case <-time.After(time.Minute):
		return errors.Join(fmt.Errorf("node %s: did not end in a minute", n.Name), n.Kill())
	}
}

// ExitCode of a daemon that has ended.
func (n *Node) ExitCode() int { return n.process.ProcessState.ExitCode() }

// Exited is closed when the daemon has ended.
func (n *Node) Exited() <-chan struct{} { return n.exited }

// SmallDisk gives the node a data directory on a filesystem of its own, of so many MiB, before it is started for the first time.
func (n *Node) SmallDisk(mib int) error {
	if err := os.MkdirAll(n.DataDir(), 0o755); err != nil {
		return err
	}
	image := filepath.Join(n.dir, "disk.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, int64(mib)<<20); err != nil {
		return err
	}
	for _, c := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, n.DataDir()}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(c, " "), err, out)
		}
	}
	n.smallDisk = true
	return nil
}

// DataDir is the node's data directory.
func (n *Node) DataDir() string { return filepath.Join(n.dir, "lib") }

func (n *Node) close() error {
	err := n.Stop()
	if out, e := n.Run(time.Minute, n.box.skiff, append(append([]string{"cleanup"}, n.dirs()...), "--cgroup-root", n.CgroupRoot())...); e != nil {
		err = errors.Join(err, fmt.Errorf("cleanup of node %s: %w: %s", n.Name, e, out))
	}
	if n.smallDisk {
		if out, e := exec.Command("umount", n.DataDir()).CombinedOutput(); e != nil {
			err = errors.Join(err, fmt.Errorf("unmount %s: %w: %s", n.DataDir(), e, out))
		}
	}
	return errors.Join(err, n.kernel(), ip("netns", "del", n.netns()))
}

// kernel is an error when cleaning up left links or rules in the node's network namespace.
func (n *Node) kernel() error {
	var left []string
	for _, look := range [][]string{{"ip", "-o", "link"}, {"ip", "-o", "addr", "show", "lo"}, {"iptables-save"}} {
		out, err := n.Run(time.Minute, look[0], look[1:]...)
		if err != nil {
			return fmt.Errorf("%s on node %s: %w: %s", look[0], n.Name, err, out)
		}
		for line := range strings.Lines(out) {
			if strings.Contains(strings.ToLower(line), "skiff") {
				left = append(left, strings.TrimSpace(line))
			}
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("cleanup of node %s left\n  %s", n.Name, strings.Join(left, "\n  "))
	}
	return nil
}

// Run runs a program in the node's network namespace and returns all that it printed.
func (n *Node) Run(timeout time.Duration, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	out, err := n.command(ctx, program, args...).CombinedOutput()
	return string(out), err
}

// RunInput is Run with standard input, and standard output apart.
func (n *Node) RunInput(timeout time.Duration, input, program string, args ...string) (stdout string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	cmd := n.command(ctx, program, args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, errOut.String())
	}
	return out.String(), nil
}

// Skiff runs a subcommand that takes the node's directories.
func (n *Node) Skiff(args ...string) (string, error) {
	out, err := n.Run(time.Minute, n.box.skiff, append(args, n.dirs()...)...)
	if err != nil {
		return out, fmt.Errorf("skiff %s on node %s: %w: %s", strings.Join(args, " "), n.Name, err, out)
	}
	return strings.TrimSpace(out), nil
}

// Join starts an agent that joins the cluster of a server.
func (n *Node) Join(server *Node, flags ...string) error {
	token, err := server.Skiff("token")
	if err != nil {
		return err
	}
	return n.Start("agent", append([]string{"--server", "https://" + server.IP + ":6443", "--token", token}, flags...)...)
}

// Kubectl runs `skiff kubectl` as the administrator.
func (n *Node) Kubectl(args ...string) (string, error) {
	out, err := n.Run(2*time.Minute, n.box.skiff, append([]string{"kubectl", "--kubeconfig", n.Kubeconfig()}, args...)...)
	if err != nil {
		return out, fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return out, nil
}

// Apply applies manifests.
func (n *Node) Apply(manifest string) error {
	_, err := n.RunInput(time.Minute, manifest, n.box.skiff, "kubectl", "--kubeconfig", n.Kubeconfig(), "apply", "-f", "-")
	return err
}

// Import brings an image archive into the node's store.
func (n *Node) Import(archive string) error {
	out, err := n.Run(time.Minute, n.box.skiff, append([]string{"image", "import", archive}, n.dirs()...)...)
	if err != nil {
		return fmt.Errorf("import %s: %w: %s", archive, err, out)
	}
	return nil
}

// WaitReady waits until the server answers and the named nodes are Ready.
func (n *Node) WaitReady(timeout time.Duration, nodes ...string) error {
	deadline := time.Now().Add(timeout)
	for {
		start := time.Now()
		err := n.ready(nodes)
		if err == nil {
			return nil
		}
		select {
		case <-n.exited:
			return fmt.Errorf("skiff on node %s has ended; see %s", n.Name, n.LogFile())
		case <-time.After(max(50*time.Millisecond, time.Since(start))): // leave others the machine as long
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %v: %w", timeout, err)
		}
	}
}

func (n *Node) ready(nodes []string) error {
	if _, err := os.Stat(n.Kubeconfig()); err != nil {
		return err
	}
	for _, node := range nodes {
		out, err := n.Kubectl("get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
		if err != nil {
			return err
		}
		if out != "True" {
			return fmt.Errorf("node %s: Ready is %q", node, out)
		}
	}
	return nil
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
