package kubelet

import (
	"context"
	"time"

	"codeberg.org/skiff/skiff/runtime/container"
)

// counted is the runtime with its operations counted, by the names that the CRI has for them.
type counted struct {
	Runtime
	counts *counts
}

func (c counted) CreateSandbox(ctx context.Context, spec container.SandboxSpec) (s container.Sandbox, err error) {
	defer func(t time.Time) {
		c.counts.runtime("run_podsandbox", t, err)
		c.counts.sandboxes.WithLabelValues("").Observe(time.Since(t).Seconds())
		c.counts.startedPods.Inc()
		if spec.UserNamespace {
			c.counts.startedUserNS.Inc()
		}
		if err != nil && spec.UserNamespace {
			c.counts.startedUserNSErrs.Inc()
		}
		if err != nil {
			c.counts.sandboxErrs.WithLabelValues("").Inc()
			c.counts.startedPodErrs.Inc()
		}
	}(time.Now())
	return c.Runtime.CreateSandbox(ctx, spec)
}

func (c counted) StopSandbox(ctx context.Context, id string) (err error) {
	defer func(t time.Time) { c.counts.runtime("stop_podsandbox", t, err) }(time.Now())
	return c.Runtime.StopSandbox(ctx, id)
}

func (c counted) RemoveSandbox(ctx context.Context, id string) (err error) {
	defer func(t time.Time) { c.counts.runtime("remove_podsandbox", t, err) }(time.Now())
	return c.Runtime.RemoveSandbox(ctx, id)
}

func (c counted) Start(ctx context.Context, id string, spec container.ContainerSpec) (got container.Container, err error) {
	defer func(t time.Time) { c.counts.runtime("start_container", t, err) }(time.Now())
	return c.Runtime.Start(ctx, id, spec)
}

func (c counted) Stop(ctx context.Context, id string, grace time.Duration) (err error) {
	defer func(t time.Time) { c.counts.runtime("stop_container", t, err) }(time.Now())
	return c.Runtime.Stop(ctx, id, grace)
}

func (c counted) Remove(ctx context.Context, id string) (err error) {
	defer func(t time.Time) { c.counts.runtime("remove_container", t, err) }(time.Now())
	return c.Runtime.Remove(ctx, id)
}

func (c counted) Exec(ctx context.Context, id string, spec container.ExecSpec) (code int, err error) {
	defer func(t time.Time) { c.counts.runtime("exec_sync", t, err) }(time.Now())
	return c.Runtime.Exec(ctx, id, spec)
}

func (c counted) UpdateContainer(ctx context.Context, id string, r container.Resources, labels map[string]string) (err error) {
	defer func(t time.Time) { c.counts.runtime("update_container", t, err) }(time.Now())
	return c.Runtime.UpdateContainer(ctx, id, r, labels)
}
