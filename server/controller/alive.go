package controller

import (
	"errors"
	"fmt"
	"time"
)

// Bounds of what counts as alive: a watch that is cut off is opened again within this, and no Reconcile takes so long.
const (
	unfollowed = 30 * time.Second
	stuckAfter = 10 * time.Minute
)

// Alive says, by the name of each controller, why it does not do its work; nil means that it does. It is for health checks.
func (e *Engine) Alive() map[string]error {
	all := make(map[string]error, len(e.loops))
	now := time.Now()
	following := e.following(now)
	for _, l := range e.loops {
		err := following
		if s := l.queue.stats(now); err == nil && s.longest > stuckAfter {
			err = fmt.Errorf("a key has been worked on for %v", s.longest.Round(time.Second))
		}
		all[l.Name] = err
	}
	return all
}

// following is an error when no events have been followed for a while.
func (e *Engine) following(now time.Time) error {
	switch since := e.lost.Load(); {
	case since == nil:
		return errors.New("the controllers were not started")
	case !since.IsZero() && now.Sub(*since) > unfollowed:
		return fmt.Errorf("the events have not been followed since %v", since.Format(time.RFC3339))
	}
	return nil
}
