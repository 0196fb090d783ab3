package main

import (
	"context"
	"os"
	"time"
)

const idleMethod = `A fresh node with everything on, no pods; after 30 s of rest a minute is measured: PSS and anonymous memory from
smaps_rollup of every process that runs the executable, CPU from stat, context switches of all threads from status, write_bytes from io.
Then strace counts fsync and fdatasync for another minute.`

const (
	settle = 30 * time.Second
	window = time.Minute
)

func measureIdle(ctx context.Context, b *bench) error {
	if info, err := os.Stat(b.skiff); err == nil {
		b.record("disk", float64(info.Size())/1e6)
	}
	if err := b.startReady(ctx); err != nil {
		return err
	}
	pause(ctx, settle)
	before := b.usage()
	pause(ctx, window)
	after := b.usage()
	b.record("idle/pss", after.pss)
	b.record("idle/anonymous", after.anon)
	b.record("idle/cpu", percent(after.cpu-before.cpu, window))
	b.record("idle/switches", (after.switches-before.switches)/window.Seconds())
	b.record("idle/writes", (after.written-before.written)/1000/window.Minutes())
	n, err := b.syncs(ctx, window)
	if err != nil {
		return err
	}
	b.record("idle/fsync", n)
	return nil
}

func percent(cpu, of time.Duration) float64 { return 100 * cpu.Seconds() / of.Seconds() }
