package main

import (
	"context"
	"os"
	"time"
)

const idleMethod = `A fresh node with everything on, no pods; after 30 s of rest a minute is measured: PSS and anonymous memory from
smaps_rollup of every process that runs the executable, CPU from stat, context switches of all threads from status. strace counts fsync
and fdatasync for another minute. Disk writes are write_bytes from io over ten minutes, after the first commit of etcd's backend, which
writes what starting made.`

const (
	settle = 30 * time.Second
	window = time.Minute
	// commit is how often etcd's backend is written; see server/store.
	commit = 5 * time.Minute
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
	n, err := b.syncs(ctx, window)
	if err != nil {
		return err
	}
	b.record("idle/fsync", n)
	pause(ctx, commit)
	before = b.usage()
	pause(ctx, 2*commit)
	b.record("idle/writes", (b.usage().written-before.written)/1000/(2*commit).Minutes())
	return nil
}

func percent(cpu, of time.Duration) float64 { return 100 * cpu.Seconds() / of.Seconds() }
