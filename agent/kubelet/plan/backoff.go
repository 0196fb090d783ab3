package plan

import "time"

// Back-off of crashed containers and failed pulls, as users of Kubernetes know it.
const (
	backOffFirst = 10 * time.Second
	backOffMax   = 5 * time.Minute
	// backOffForget: a container that ran this long starts over.
	backOffForget = 10 * time.Minute
	// showError is how long ErrImagePull is shown before ImagePullBackOff.
	showError = 2 * time.Second
	// configRetry: a missing ConfigMap or Secret is looked for again, even if no event said it came.
	configRetry = 10 * time.Second
)

// crash returns how long the successor of last waits after last's end, and what the successor's own successor will wait.
// The first restart is immediate; then 10 s, doubling to 5 min.
func crash(last Attempt) (delay, next time.Duration) {
	if last.FinishedAt.Sub(last.StartedAt) >= backOffForget && !last.StartedAt.IsZero() {
		return 0, backOffFirst
	}
	if last.BackOff == 0 {
		return 0, backOffFirst
	}
	return last.BackOff, min(2*last.BackOff, backOffMax)
}

// after doubles first with each failed try, up to most.
func after(tries int, first, most time.Duration) time.Duration {
	d := first
	for i := 1; i < tries && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}

// retryAt is when a failed step is tried again.
func retryAt(verb Verb, f *Failure) time.Time {
	switch verb {
	case Pull:
		return f.At.Add(after(f.Tries, backOffFirst, backOffMax))
	case Start:
		return f.At.Add(configRetry)
	case SetUpVolumes:
		return f.At.Add(after(f.Tries, 500*time.Millisecond, 2*time.Minute))
	case Delete:
		return f.At.Add(after(f.Tries, 200*time.Millisecond, 30*time.Second))
	}
	return f.At.Add(after(f.Tries, time.Second, time.Minute))
}
