package container

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// lifeJob is a daemon's whole life with one sandbox and one container; at step KillAt it kills itself.
type lifeJob struct {
	StateDir, RunDir, CgroupRoot, Snapshots string
	KillAt                                  int
	Sandbox                                 SandboxSpec
	Container                               ContainerSpec
}

func testLife(raw string) {
	check := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	var job lifeJob
	check(json.Unmarshal([]byte(raw), &job))
	steps := make(chan string)
	go func() { // one after the other, whichever goroutine they are of
		for n := 0; ; n++ {
			if name := <-steps; n == job.KillAt {
				fmt.Println("at", name)
				_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			}
			steps <- ""
		}
	}()
	reached := func(name string) { steps <- name; <-steps }
	m, err := Open(Config{StateDir: job.StateDir, RunDir: job.RunDir, CgroupRoot: job.CgroupRoot, Snapshots: plainSnapshots{job.Snapshots}, reached: serial(reached)})
	check(err)
	go m.Run(ctx)
	_, err = m.CreateSandbox(ctx, job.Sandbox)
	check(err)
	_, err = m.Start(ctx, job.Sandbox.ID, job.Container)
	check(err)
	check(m.Stop(ctx, job.Container.ID, 0))
	check(m.Remove(ctx, job.Container.ID))
	again := job.Container
	again.ID += "2" // runs still when its sandbox is stopped
	_, err = m.Start(ctx, job.Sandbox.ID, again)
	check(err)
	check(m.RemoveSandbox(ctx, job.Sandbox.ID))
	fmt.Println("lived")
}

// serial lets one caller in at a time.
func serial(f func(string)) func(string) {
	turn := make(chan struct{}, 1)
	return func(name string) {
		turn <- struct{}{}
		f(name)
		<-turn
	}
}

// live runs such a daemon until it kills itself; step is where, "" when it lived to the end.
func (b *bed) live(job lifeJob) (step string) {
	b.tb.Helper()
	raw, _ := json.Marshal(job)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SKIFF_TEST_LIFE="+string(raw))
	out, err := cmd.Output()
	if strings.HasSuffix(string(out), "lived\n") {
		return ""
	}
	step, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "at ")
	if !ok {
		b.tb.Fatalf("step %d: %v: %s", job.KillAt, err, out)
	}
	return step
}

// TestKilledAtEveryStep kills a daemon at every step of a sandbox's and its containers' lives. The next daemon must find what step.go
// says, and clean up.
func TestKilledAtEveryStep(t *testing.T) {
	requireRoot(t)
	seen := map[string]bool{}
	for n := 0; ; n++ {
		b := &bed{tb: t, cfg: testConfig(t)}
		runs := t.TempDir() // a file for each run
		spec := b.shell("c", "echo > /runs/$ID; exec sleep 1000")
		spec.Mounts = []Mount{{Source: runs, Destination: "/runs"}}
		spec.Env = []string{"ID=c"}
		job := lifeJob{StateDir: b.cfg.StateDir, RunDir: b.cfg.RunDir, CgroupRoot: b.cfg.CgroupRoot, Snapshots: b.cfg.Snapshots.(plainSnapshots).dir,
			KillAt: n, Sandbox: SandboxSpec{ID: "a", Hostname: "a", Cgroup: "pods/a"}, Container: spec}
		job.Sandbox.UserNamespace = n%2 == 1
		step := b.live(job)
		if step == "" {
			break
		}
		seen[step] = true
		b.open()
		b.afterKill(step, job, runs)
		b.clean()
		for _, dir := range []string{b.cfg.RunDir + "/sandboxes", b.cfg.StateDir + "/sandboxes", b.factoryRoot(), job.Snapshots} {
			eventually(t, step+": "+dir+" is empty", func() bool { entries, _ := os.ReadDir(dir); return len(entries) == 0 })
		}
		if t.Failed() {
			t.Fatalf("it was killed at step %d, %s", n, step)
		}
	}
	t.Logf("%d steps: %v", len(seen), seen)
	if len(seen) < 25 {
		t.Errorf("only %d different steps were reached", len(seen))
	}
}

// afterKill does what a kubelet does with what it finds: it starts what is not there.
func (b *bed) afterKill(step string, job lifeJob, runs string) {
	t := b.tb
	s, ok := b.Sandbox("a")
	if ok && s.State == SandboxStopped {
		for _, c := range s.Containers {
			if c.State != Exited {
				t.Errorf("%s: container %s of a stopped sandbox is %s", step, c.Spec.ID, c.State)
			}
		}
		if err := b.RemoveSandbox(ctx, "a"); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		ok = false
	}
	if !ok {
		if _, err := b.CreateSandbox(ctx, job.Sandbox); err != nil {
			t.Errorf("%s: create the sandbox again: %v", step, err)
			return
		}
	}
	for _, c := range b.found() {
		eventually(t, step+": container "+c.Spec.ID+" is settled", func() bool { c, _ = b.Container(c.Spec.ID); return c.State != Created })
		if c.State == Exited && (c.StartedAt.IsZero() || c.ExitCode != 137) {
			t.Errorf("%s: container %s is said to have ended before it ran: %d %s", step, c.Spec.ID, c.ExitCode, c.Message)
		}
		if c.State == Running && !alive(c.PID) {
			t.Errorf("%s: container %s is said to run", step, c.Spec.ID)
		}
	}
	if ran := step == "start: it runs" || step == "start: it is recorded that it runs"; ran && len(b.found()) != 1 {
		t.Errorf("%s: %d containers are found", step, len(b.found()))
	}
	if _, listed := b.Container("c"); !listed && strings.HasPrefix(step, "start: ") && !exists(filepath.Join(runs, "c")) {
		spec := job.Container
		if _, err := b.Start(ctx, "a", spec); err != nil {
			t.Errorf("%s: start it again: %v", step, err)
			return
		}
		eventually(t, step+": it runs", func() bool { return exists(filepath.Join(runs, "c")) })
	}
}

func (b *bed) found() []Container {
	s, _ := b.Sandbox("a")
	return s.Containers
}
