package outbound

import (
	"testing"
	"time"
)

func TestCallURL(t *testing.T) {
	for base, want := range map[string]string{
		"https://h:1//failing":  "https://h:1/failing?timeout=10s",
		"https://h:1/a/b/?q=1":  "https://h:1/a/b?q=1&timeout=10s",
		"https://h:1":           "https://h:1?timeout=10s",
		"https://h:1/%2e%2e/a/": "https://h:1/a?timeout=10s",
	} {
		if got, err := callURL(base, 10*time.Second); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", base, got, err, want)
		}
	}
}
