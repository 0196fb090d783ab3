package fairness

import (
	"context"
	"fmt"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/client"
	"codeberg.org/skiff/skiff/server/store"
)

// pause between two rounds, so that a fight over an object with somebody else costs nothing.
const pause = time.Second

// Run follows the configuration objects until ctx ends: it puts them into force, makes the mandatory and the suggested
// ones when they are missing, puts right those that the server keeps, and writes the condition Dangling.
func (f *Fairness) Run(ctx context.Context, c *client.Client) error {
	kinds := []*api.Kind{c.KindOf(&flowcontrolv1.FlowSchema{}), c.KindOf(&flowcontrolv1.PriorityLevelConfiguration{})}
	if kinds[0] == nil || kinds[1] == nil {
		<-ctx.Done()
		return nil
	}
	for ctx.Err() == nil {
		w, err := c.Watch(ctx, store.WatchOptions{Kinds: kinds, From: c.Snapshot().Revision()})
		if err == nil {
			err = f.follow(ctx, c, w)
			w.Stop()
		}
		if err != nil && ctx.Err() == nil {
			f.cfg.Log.Warn("priority and fairness: the configuration objects cannot be followed; trying again", "error", err)
		}
		sleep(ctx, pause)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// follow a watch until it ends.
func (f *Fairness) follow(ctx context.Context, c *client.Client, w *store.Watch) error {
	for {
		f.load(c.Snapshot())
		again := time.After(time.Hour)
		if err := f.keep(ctx, c); err != nil {
			f.cfg.Log.Debug("priority and fairness: keep the configuration objects", "error", err)
			again = time.After(5 * pause)
		}
		select {
		case _, open := <-w.Events():
			if !open {
				return w.Err()
			}
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// load puts what is stored into force.
func (f *Fairness) load(s client.Snapshot) {
	var schemas []*flowcontrolv1.FlowSchema
	var levels []*flowcontrolv1.PriorityLevelConfiguration
	for fs := range client.List[*flowcontrolv1.FlowSchema](s, "") {
		schemas = append(schemas, fs)
	}
	for p := range client.List[*flowcontrolv1.PriorityLevelConfiguration](s, "") {
		levels = append(levels, p)
	}
	if len(schemas) == 0 {
		schemas = mandatorySchemas()
	}
	f.Set(schemas, levels)
}

// keep makes what is missing and puts right what the server keeps.
func (f *Fairness) keep(ctx context.Context, c *client.Client) error {
	schemas, levels := Bootstrap()
	for _, want := range levels {
		mandatory := want.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt || want.Name == flowcontrolv1.PriorityLevelConfigurationNameCatchAll
		have, _ := client.Get[*flowcontrolv1.PriorityLevelConfiguration](c.Snapshot(), "", want.Name)
		err := keepOne(ctx, c, have, want, mandatory, func(have, want *flowcontrolv1.PriorityLevelConfiguration) bool {
			if want.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt && have.Spec.Exempt != nil {
				want.Spec.Exempt = have.Spec.Exempt.DeepCopy() // its shares are for the administrator to choose
			}
			if same(have.Spec, want.Spec) {
				return true
			}
			want.Spec.DeepCopyInto(&have.Spec)
			return false
		})
		if err != nil {
			return err
		}
	}
	for _, want := range schemas {
		mandatory := want.Name == flowcontrolv1.FlowSchemaNameExempt || want.Name == flowcontrolv1.FlowSchemaNameCatchAll
		have, _ := client.Get[*flowcontrolv1.FlowSchema](c.Snapshot(), "", want.Name)
		err := keepOne(ctx, c, have, want, mandatory, func(have, want *flowcontrolv1.FlowSchema) bool {
			if same(have.Spec, want.Spec) {
				return true
			}
			want.Spec.DeepCopyInto(&have.Spec)
			return false
		})
		if err != nil {
			return err
		}
	}
	return f.markDangling(ctx, c)
}

type keepable[T any] interface {
	comparable
	api.Object
	DeepCopy() T
}

// keepOne creates an object, or updates its spec. adopt compares, and makes have as it should be.
func keepOne[T keepable[T]](ctx context.Context, c *client.Client, have, want T, mandatory bool, adopt func(have, want T) bool) error {
	var none T
	if d := c.KindOf(want).Default; d != nil {
		d(want)
	}
	if have == none {
		if _, err := c.Create(ctx, want); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create %T %s: %w", want, want.GetName(), err)
		}
		return nil
	}
	if !kept(have, mandatory) {
		return nil
	}
	next := have.DeepCopy()
	if adopt(next, want) {
		return nil
	}
	if _, err := c.Update(ctx, next); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("update %T %s: %w", want, want.GetName(), err)
	}
	return nil
}

// markDangling writes the condition that says whether a FlowSchema's priority level exists.
func (f *Fairness) markDangling(ctx context.Context, c *client.Client) error {
	s := c.Snapshot()
	for fs := range client.List[*flowcontrolv1.FlowSchema](s, "") {
		_, exists := client.Get[*flowcontrolv1.PriorityLevelConfiguration](s, "", fs.Spec.PriorityLevelConfiguration.Name)
		next := dangling(fs, exists, metav1.NewTime(f.cfg.Now()))
		if next == nil {
			continue
		}
		if _, err := c.UpdateStatus(ctx, next); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("write the status of flow schema %s: %w", fs.Name, err)
		}
	}
	return nil
}

// dangling returns the FlowSchema with the condition as it should be; nil when it is.
func dangling(fs *flowcontrolv1.FlowSchema, exists bool, now metav1.Time) *flowcontrolv1.FlowSchema {
	want := flowcontrolv1.FlowSchemaCondition{Type: flowcontrolv1.FlowSchemaConditionDangling, Status: flowcontrolv1.ConditionFalse, Reason: "Found",
		Message: fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q and it exists", fs.Spec.PriorityLevelConfiguration.Name)}
	if !exists {
		want.Status, want.Reason = flowcontrolv1.ConditionTrue, "NotFound"
		want.Message = fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q but there is no such object", fs.Spec.PriorityLevelConfiguration.Name)
	}
	at := -1
	for i, have := range fs.Status.Conditions {
		if have.Type != want.Type {
			continue
		}
		if have.Status == want.Status && have.Reason == want.Reason && have.Message == want.Message {
			return nil
		}
		at = i
		want.LastTransitionTime = have.LastTransitionTime
		if have.Status != want.Status {
			want.LastTransitionTime = now
		}
	}
	next := fs.DeepCopy()
	if at >= 0 {
		next.Status.Conditions[at] = want
	} else {
		want.LastTransitionTime = now
		next.Status.Conditions = append(next.Status.Conditions, want)
	}
	return next
}
