package container

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestArmor(t *testing.T) {
	for _, c := range []struct {
		name    string
		want    string
		enabled bool
		broken  bool
		got     string
		err     string
	}{
		{"nothing asked", "", true, false, "", ""},
		{"default", AppArmorDefault, true, false, armorName, ""},
		{"default where possible", AppArmorDefaultIfPossible, true, false, armorName, ""},
		{"cannot load, asked", AppArmorDefault, true, true, "", "load the default AppArmor profile"},
		{"cannot load, not asked", AppArmorDefaultIfPossible, true, true, "", ""},
		{"no AppArmor, not asked", AppArmorDefaultIfPossible, false, false, "", ""},
		{"no AppArmor, asked", AppArmorDefault, false, false, "", "not enabled"},
		{"no AppArmor, named", "mine", false, false, "", "not enabled"},
		{"named", "mine", true, false, "mine", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			loads := 0
			a := &armor{log: slog.New(slog.DiscardHandler), enabled: func() bool { return c.enabled }, load: func(string) error {
				loads++
				if c.broken {
					return errors.New("no parser")
				}
				return nil
			}}
			for range 2 {
				got, err := a.profile(c.want)
				if got != c.got || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
					t.Errorf("%q, %v", got, err)
				}
			}
			if loads > 1 {
				t.Errorf("loaded %d times", loads)
			}
		})
	}
}

// TestArmorProfile: every rule ends with a comma, and what the host lacks is not included.
func TestArmorProfile(t *testing.T) {
	plain := defaultArmor(false, false)
	if strings.Contains(plain, "#include") || !strings.HasPrefix(plain, "@{PROC}=/proc/\nprofile skiff-default ") {
		t.Error(plain)
	}
	full := defaultArmor(true, true)
	for _, line := range strings.Split(strings.TrimSpace(full), "\n") {
		if strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "  #include") && !strings.HasSuffix(line, ",") {
			t.Errorf("no comma: %s", line)
		}
	}
	for _, want := range []string{"#include <tunables/global>", "#include <abstractions/base>", "deny mount,", "ptrace (trace,read,tracedby,readby) peer=skiff-default,"} {
		if !strings.Contains(full, want) {
			t.Errorf("lacks %s", want)
		}
	}
}
