package cronjob

import (
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	for _, c := range []struct{ schedule, zone, from, want string }{
		{"* * * * *", "UTC", "2026-03-01T12:00:30Z", "2026-03-01T12:01:00Z"},
		{"*/15 * * * *", "UTC", "2026-03-01T12:45:00Z", "2026-03-01T13:00:00Z"},
		{"5/20 * * * *", "UTC", "2026-03-01T12:30:00Z", "2026-03-01T12:45:00Z"},
		{"0 9-17/4 * * mon-fri", "UTC", "2026-03-06T17:00:00Z", "2026-03-09T09:00:00Z"},
		{"0 0 29 2 *", "UTC", "2026-03-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"0 0 31 2 *", "UTC", "2026-03-01T00:00:00Z", "0001-01-01T00:00:00Z"},
		{"0 0 13 * 5", "UTC", "2026-03-01T00:00:00Z", "2026-03-06T00:00:00Z"}, // the 13th or a Friday
		{"0 0 13 * *", "UTC", "2026-03-01T00:00:00Z", "2026-03-13T00:00:00Z"},
		{"@weekly", "UTC", "2026-03-02T00:00:00Z", "2026-03-08T00:00:00Z"},
		{"@every 90s", "UTC", "2026-03-01T12:00:00Z", "2026-03-01T12:01:30Z"},
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z"}, // 02:30 does not exist on the 29th
		{"0 8 * * *", "America/New_York", "2026-03-01T00:00:00Z", "2026-03-01T13:00:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Skipf("no time zones here: %v", err)
		}
		s, err := parse(c.schedule, zone)
		if err != nil {
			t.Errorf("%s: %v", c.schedule, err)
			continue
		}
		from, _ := time.Parse(time.RFC3339, c.from)
		if got := s.next(from).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s after %s: %s, want %s", c.schedule, c.from, got, c.want)
		}
	}
}

func TestLastFindsTheNewestHoweverLongAgo(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
	for schedule, want := range map[string]string{"* * * * *": "2026-03-01T12:00:00Z", "0 3 * * *": "2026-03-01T03:00:00Z", "0 0 1 1 *": "2026-01-01T00:00:00Z", "@every 1h": "2026-03-01T12:00:00Z"} {
		s, err := parse(schedule, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		at, missed := s.last(time.Date(2016, 3, 1, 12, 0, 0, 0, time.UTC), now)
		if got := at.Format(time.RFC3339); got != want || missed == 0 {
			t.Errorf("%s: %s after %d others, want %s", schedule, got, missed, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	for _, text := range []string{"", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "5-1 * * * *", "*/0 * * * *", "a * * * *", "@every x", "@never"} {
		if _, err := parse(text, time.UTC); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add("*/5 1-3 * jan 0")
	f.Add("@every 1s")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parse(text, time.UTC)
		if err != nil {
			return
		}
		from := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		if next := s.next(from); !next.IsZero() && !next.After(from) {
			t.Errorf("%q: the next after %s is %s", text, from, next)
		}
	})
}
