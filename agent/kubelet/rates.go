package kubelet

import (
	"maps"
	"slices"
	"time"
)

// cpuSample is the CPU time of something when it was last asked for; rates are between two questions. Nothing is sampled
// while nobody asks.
type cpuSample struct {
	at    time.Time
	nanos uint64
	rate  uint64
	ok    bool
}

// rate of CPU use since the last question, in nanoseconds a second.
func (k *Kubelet) rate(key string, at time.Time, nanos uint64) *uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	last, ok := k.cpu[key]
	s := cpuSample{at: at, nanos: nanos}
	if ok && at.Sub(last.at) < 5*time.Second { // two who ask at once get one answer
		s = last
	} else if ok && nanos >= last.nanos {
		s.rate, s.ok = uint64(float64(nanos-last.nanos)/at.Sub(last.at).Seconds()), true
	}
	k.cpu[key] = s
	if len(k.cpu) > 5000 {
		k.cpu = map[string]cpuSample{}
	}
	if !s.ok {
		return nil
	}
	return &s.rate
}

// forgetFigures of a pod that is gone.
func (w *worker) forgetFigures() {
	w.mu.Lock()
	keys := slices.Collect(maps.Keys(w.details))
	for attempt := range w.lastSandbox + 1 {
		keys = append(keys, sandboxID(w.uid, attempt))
	}
	w.mu.Unlock()
	w.k.mu.Lock()
	defer w.k.mu.Unlock()
	for _, key := range keys {
		delete(w.k.cpu, key)
	}
}
