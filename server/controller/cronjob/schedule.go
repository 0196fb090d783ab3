package cronjob

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// schedule is when a CronJob runs: every so often, or in the minutes that all five sets hold, as cron has it.
type schedule struct {
	every                         time.Duration
	minute, hour, day, month, dow uint64 // bit n: the value n
	// anyDay and anyDow: the field begins with a star. When neither does, a day that fits one of them is enough.
	anyDay, anyDow bool
	zone           *time.Location
}

var shorthands = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

var (
	monthNames = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	dayNames   = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
)

// parse reads a cron expression, or one of its shorthands (@daily, @every 1h30m).
func parse(text string, zone *time.Location) (schedule, error) {
	s := schedule{zone: zone}
	if interval, ok := strings.CutPrefix(text, "@every "); ok {
		every, err := time.ParseDuration(strings.TrimSpace(interval))
		if err != nil {
			return s, fmt.Errorf("schedule %q: %w", text, err)
		}
		s.every = max(every.Truncate(time.Second), time.Second)
		return s, nil
	}
	if long, ok := shorthands[strings.ToLower(text)]; ok {
		text = long
	}
	fields := strings.Fields(text)
	if len(fields) != 5 {
		return s, fmt.Errorf("schedule %q: %d fields, want 5", text, len(fields))
	}
	s.anyDay, s.anyDow = strings.ContainsAny(fields[2], "*?"), strings.ContainsAny(fields[4], "*?")
	for i, f := range []struct {
		set       *uint64
		low, high int
		names     []string
	}{{&s.minute, 0, 59, nil}, {&s.hour, 0, 23, nil}, {&s.day, 1, 31, nil}, {&s.month, 1, 12, monthNames}, {&s.dow, 0, 6, dayNames}} {
		for part := range strings.SplitSeq(fields[i], ",") {
			bits, err := parsePart(part, f.low, f.high, f.names)
			if err != nil {
				return s, fmt.Errorf("schedule %q: %w", text, err)
			}
			*f.set |= bits
		}
	}
	return s, nil
}

// parsePart reads *, N, N-M and each of them with /step; N/step goes on to the end.
func parsePart(part string, low, high int, names []string) (bits uint64, err error) {
	span, stepText, stepped := strings.Cut(part, "/")
	step := 1
	if stepped {
		if step, err = strconv.Atoi(stepText); err != nil || step <= 0 {
			return 0, fmt.Errorf("%q is no step", part)
		}
	}
	from, to := low, high
	if span != "*" && span != "?" {
		a, b, ranged := strings.Cut(span, "-")
		if from, err = value(a, low, names); err != nil {
			return 0, err
		}
		switch {
		case ranged:
			if to, err = value(b, low, names); err != nil {
				return 0, err
			}
		case !stepped:
			to = from
		}
	}
	if from < low || to > high || from > to {
		return 0, fmt.Errorf("%q is not within %d-%d", part, low, high)
	}
	for n := from; n <= to; n += step {
		bits |= 1 << n
	}
	return bits, nil
}

func value(text string, low int, names []string) (int, error) {
	for i, name := range names {
		if strings.EqualFold(text, name) {
			return low + i, nil
		}
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return n, nil
}

// next is the first time after t that fits; zero if there is none within five years (31 February).
func (s schedule) next(t time.Time) time.Time {
	if s.every > 0 {
		return t.Add(s.every - time.Duration(t.Nanosecond()))
	}
	if s.zone != nil {
		t = t.In(s.zone)
	}
	t = t.Truncate(time.Minute).Add(time.Minute)
	for limit := t.AddDate(5, 0, 0); t.Before(limit); {
		switch {
		case !has(s.month, int(t.Month())):
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, t.Location())
		case !s.fits(t):
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, t.Location())
		case !has(s.hour, t.Hour()):
			// In steps of real time, so that an hour which a change of clocks skips or repeats makes no loop.
			t = t.Add(time.Duration(60-t.Minute()) * time.Minute)
		case !has(s.minute, t.Minute()):
			t = t.Add(time.Minute)
		default:
			return t
		}
	}
	return time.Time{}
}

func (s schedule) fits(t time.Time) bool {
	day, dow := has(s.day, t.Day()), has(s.dow, int(t.Weekday()))
	if s.anyDay || s.anyDow {
		return day && dow
	}
	return day || dow
}

// last is the newest time in (earliest, now] that fits, zero if there is none; missed is how many others lie before it, counted
// up to a hundred or so.
func (s schedule) last(earliest, now time.Time) (at time.Time, missed int) {
	first := s.next(earliest)
	if first.IsZero() || first.After(now) {
		return time.Time{}, 0
	}
	if s.every > 0 {
		n := now.Sub(first) / s.every
		return first.Add(n * s.every), int(n)
	}
	for missed, at = 0, first; missed <= tooMany; missed++ {
		following := s.next(at)
		if following.IsZero() || following.After(now) {
			return at, missed
		}
		at = following
	}
	// A long time: look back from now in ever wider steps instead of walking through it all.
	for back := time.Minute; ; back *= 2 {
		from := now.Add(-back)
		if from.Before(at) {
			from = at.Add(-time.Minute)
		}
		found := s.next(from)
		if found.IsZero() || found.After(now) {
			continue
		}
		for following := s.next(found); !following.IsZero() && !following.After(now); following = s.next(found) {
			found = following
		}
		return found, missed
	}
}

func has(set uint64, n int) bool { return set&(1<<n) != 0 }
