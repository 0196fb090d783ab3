// Command bench measures what docs/performance.md reports: a node of its own in a network namespace of its own, asked from outside
// as any client would. Each section says on standard error how it measures; the result is a table in Markdown on standard output, with what
// Kubernetes itself costs on this kind of machine, what is required and what is the goal. It ends with status 1 when something required is missed.
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
	"slices"
	"strings"
	"syscall"
	"time"

	"codeberg.org/skiff/skiff/scripts/testbox"
)

// section measures a few figures on one fresh node.
type section struct {
	name   string
	method string
	flags  []string // of `skiff server`
	run    func(ctx context.Context, b *bench) error
}

func sections() []section {
	return []section{
		{"idle", idleMethod, nil, measureIdle},
		{"start", startMethod, nil, measureStart},
		{"pods", podsMethod, nil, measurePods},
		{"api", apiMethod, nil, measureAPI},
		{"scheduler", schedulerMethod, []string{"--disable-agent"}, measureScheduler},
		{"services", servicesMethod, nil, measureServices},
	}
}

// bench is one section while it runs.
type bench struct {
	figures []*figure
	image   string
	skiff   string // a copy of the executable: skiff's processes are those that run this very file
	box     *testbox.Box
	node    *testbox.Node
	flags   []string
	*cluster
}

// record keeps a measured figure.
func (b *bench) record(key string, value float64, note ...string) {
	i := slices.IndexFunc(b.figures, func(f *figure) bool { return f.key == key })
	if i < 0 {
		panic("no figure " + key)
	}
	f := b.figures[i]
	f.value, f.measured, f.note = value, true, strings.Join(note, "; ")
	fmt.Fprintf(os.Stderr, "   %-52s %9s %s %s\n", f.what, number(value), f.unit, f.note)
}

func main() {
	skiff := flag.String("skiff", "bin/skiff", "executable to measure")
	image := flag.String("image", "", "archive of the image bench/pause:v1")
	profiles := flag.String("profile", "", "directory for CPU and heap profiles of the daemon, one every 5 s; none: off")
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "Usage: bench [flags] [SECTION...]\nSections:")
		for _, s := range sections() {
			fmt.Fprintf(os.Stderr, " %s", s.name)
		}
		fmt.Fprintln(os.Stderr)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, *skiff, *image, *profiles, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run measures the named sections, or all, and prints the table. ok is false when something required was missed.
func run(ctx context.Context, skiff, image, profiles string, names []string) (ok bool, err error) {
	all := figures()
	known := sections()
	for _, name := range names {
		if !slices.ContainsFunc(known, func(s section) bool { return s.name == name }) {
			return false, fmt.Errorf("no section %q", name)
		}
	}
	for _, s := range known {
		if len(names) > 0 && !slices.Contains(names, s.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "== %s\n   %s\n", s.name, strings.ReplaceAll(strings.TrimSpace(s.method), "\n", "\n   "))
		began := time.Now()
		if e := measure(ctx, s, all, skiff, image, profiles); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", s.name, e))
			fmt.Fprintln(os.Stderr, "   failed:", e)
		}
		fmt.Fprintf(os.Stderr, "   took %.0f s\n", time.Since(began).Seconds())
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Printf("\n%s\n\n%s", machine(), table(all))
	return !slices.ContainsFunc(all, func(f *figure) bool { return f.measured && f.verdict() == "FAIL" }), err
}

// measure runs one section on a fresh machine.
func measure(ctx context.Context, s section, all []*figure, skiff, image, profiles string) (err error) {
	dir, err := os.MkdirTemp("", "skiff-bench-bin-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{figures: all, image: image, skiff: filepath.Join(dir, "skiff"), flags: s.flags}
	if out, err := exec.Command("cp", skiff, b.skiff).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the executable: %w: %s", err, out)
	}
	if b.box, err = testbox.New(b.skiff); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.box.Close()) }()
	if b.node, err = b.box.Node("n1"); err != nil {
		return err
	}
	if err := b.node.Import(image); err != nil {
		return err
	}
	if profiles != "" {
		b.flags = append(b.flags, "--debug-socket", b.debugSocket())
		defer b.profile(ctx, profiles, s.name)()
	}
	return s.run(ctx, b)
}

// machine says where the figures come from.
func machine() string {
	cpu, _ := exec.Command("sh", "-c", `grep -m1 'model name' /proc/cpuinfo | cut -d: -f2`).Output()
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	cores, _ := exec.Command("nproc").Output()
	memory, _ := exec.Command("sh", "-c", `awk '/MemTotal/{printf "%.0f GiB", $2/1048576}' /proc/meminfo`).Output()
	return fmt.Sprintf("Machine:%s, %s cores, %s, kernel %s; load average at the end %s.", strings.TrimRight(string(cpu), "\n"), strings.TrimSpace(string(cores)),
		memory, strings.TrimSpace(string(kernel)), strings.Join(strings.Fields(string(load))[:3], " "))
}
