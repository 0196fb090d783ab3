package api

import (
	"fmt"
	"strconv"
	"strings"
)

// cronRange is what one field of a cron expression may hold.
type cronRange struct {
	low, high int
	names     []string // names[0] stands for low
}

// minute, hour, day of month, month, day of week
var cronRanges = [5]cronRange{
	{0, 59, nil}, {0, 23, nil}, {1, 31, nil},
	{1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{0, 6, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// cronField checks one field: a list of *, ? , N, N-M, each with an optional /step.
func cronField(f string, r cronRange) error {
	for part := range strings.SplitSeq(f, ",") {
		span, step, stepped := strings.Cut(part, "/")
		if stepped {
			if n, err := strconv.Atoi(step); err != nil || n <= 0 {
				return fmt.Errorf("step of range should be a positive number: %s", part)
			}
		}
		if span == "*" || span == "?" {
			continue
		}
		from, to, ranged := strings.Cut(span, "-")
		low, err := r.value(from)
		if err != nil {
			return err
		}
		high := low
		if ranged {
			if high, err = r.value(to); err != nil {
				return err
			}
		}
		switch {
		case low < r.low:
			return fmt.Errorf("beginning of range (%d) below minimum (%d): %s", low, r.low, part)
		case high > r.high:
			return fmt.Errorf("end of range (%d) above maximum (%d): %s", high, r.high, part)
		case low > high:
			return fmt.Errorf("beginning of range (%d) beyond end of range (%d): %s", low, high, part)
		}
	}
	return nil
}

func (r cronRange) value(s string) (int, error) {
	for i, name := range r.names {
		if strings.EqualFold(s, name) {
			return r.low + i, nil
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("failed to parse int from %s", s)
	}
	return n, nil
}
