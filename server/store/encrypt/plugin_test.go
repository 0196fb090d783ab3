package encrypt

import (
	"strings"
	"testing"
)

// TestKMSWithoutAPlugin: the configuration is read, and everything says what is missing. What plugins do is tested in kms.
func TestKMSWithoutAPlugin(t *testing.T) {
	tr := parse(t, head+"- resources: [secrets]\n  providers: [{kms: {apiVersion: v2, name: vault, endpoint: \"unix://"+t.TempDir()+"/kms.sock\"}}, {identity: {}}]\n")
	r := &Rotator{live: NewLive(tr)}
	if !r.HasPlugins() || r.Health() == nil {
		t.Fatalf("plugins: %v, health %v", r.HasPlugins(), r.Health())
	}
	if err := r.Prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "kms provider vault: ask for its status") {
		t.Errorf("prepare: %v", err)
	}
	if _, err := tr.Seal(secrets, key, []byte("x")); err == nil || !strings.Contains(err.Error(), "kms provider vault has given no key yet") {
		t.Errorf("seal: %v", err)
	}
	if got, err := tr.Open(secrets, key, []byte("plain")); err != nil || string(got) != "plain" {
		t.Errorf("unencrypted: %q, %v", got, err)
	}
	if !tr.Stale(secrets, []byte("plain")) {
		t.Error("an unencrypted value is not stale")
	}
	for _, p := range tr.plugins {
		_ = p.Close()
	}
}
