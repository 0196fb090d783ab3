package kubelet

import "testing"

func TestVictimOf(t *testing.T) {
	for record, want := range map[string]string{
		"3,1700,12345,-;Out of memory: Killed process 4711 (java) total-vm:1kB, anon-rss:1kB\n":   "4711 java",
		"3,1700,12345,-;Out of memory: Killed process 1 (a b) (c) total-vm:1kB\n":                 "1 a b",
		"3,1700,12345,-;Memory cgroup out of memory: Killed process 4711 (java) total-vm:1kB\n":   "",
		"12,1,1,-;a container says: Out of memory: Killed process 1 (x)\n":                        "",
		"6,1,1,-;eth0: link up\n SUBSYSTEM=net\n DEVICE=n2;Out of memory: Killed process 1 (x)\n": "",
		"": "",
	} {
		pid, name, ok := victimOf(record)
		if got := pid + " " + name; ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v", record, got, ok)
		}
	}
}
