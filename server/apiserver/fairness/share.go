package fairness

import (
	"math"
	"time"
)

// reallocateEvery bounds how often the seats are divided anew.
const reallocateEvery = 100 * time.Millisecond

// demandHalfLife is how fast a level's demand is forgotten.
const demandHalfLife = 5 * time.Second

// claim is what one level brings to the division.
type claim struct {
	// wants, and never less than least nor more than most.
	wants, least, most float64
}

// divide splits total seats: everybody gets the same multiple of what they want, within their bounds, so that all is
// given out. When the bounds do not allow that, everybody is at the bound that is nearest to it.
func divide(total float64, claims []claim) []float64 {
	out := make([]float64, len(claims))
	at := func(p float64) (sum float64) {
		for i, c := range claims {
			out[i] = min(c.most, max(c.least, p*max(c.wants, 0.001)))
			sum += out[i]
		}
		return sum
	}
	low, high := 0.0, 1.0
	if at(low) >= total {
		return out
	}
	for high < 1e9 && at(high) < total {
		high *= 4
	}
	for range 60 {
		if mid := (low + high) / 2; at(mid) < total {
			low = mid
		} else {
			high = mid
		}
	}
	at(low)
	return out
}

func (f *Fairness) dueToReallocate(now time.Time) bool {
	last := f.reallocated.Load()
	return now.UnixNano()-last >= int64(reallocateEvery) && f.reallocated.CompareAndSwap(last, now.UnixNano())
}

// reallocate divides the seats by what the levels asked for, and lets run what may run now.
func (f *Fairness) reallocate(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	levels := f.current.Load().levels
	forget := math.Exp2(-now.Sub(f.divided).Seconds() / demandHalfLife.Seconds())
	f.divided = now
	total := float64(f.cfg.Seats)
	var claims []claim
	var limited []*level
	for _, l := range levels {
		l.mu.Lock()
		l.demand = max(float64(max(l.peak, l.seats+l.wanted)), l.demand*forget)
		l.peak = l.seats + l.wanted
		c := claim{wants: l.demand, least: float64(l.config.least), most: float64(l.config.most)}
		if l.config.exempt { // nobody asks these to wait, but what they use is not there for others
			l.limit = max(l.config.least, int(math.Round(l.demand)))
			total -= float64(l.limit)
		} else {
			c.wants = max(c.wants, c.least)
			claims, limited = append(claims, c), append(limited, l)
		}
		l.mu.Unlock()
	}
	shares := divide(max(0, total), claims)
	for i, l := range limited {
		l.mu.Lock()
		l.limit = int(math.Round(shares[i]))
		if l.config.nominal > 0 {
			l.limit = max(1, l.limit)
		}
		l.dispatch(now)
		l.mu.Unlock()
	}
}
