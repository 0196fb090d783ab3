package apiserver

import "testing"

// What a node writes into a status leads a proxy to no place that only the dialing machine has.
func TestProxyable(t *testing.T) {
	for ip, want := range map[string]bool{
		"10.42.0.5": true, "192.168.1.1": true, "fd00::5": true, "::ffff:10.42.0.5": true,
		"": false, "localhost": false, "127.0.0.1": false, "127.8.9.1": false, "::1": false, "::ffff:127.0.0.1": false, "0.0.0.0": false, "::": false, "::ffff:0.0.0.0": false,
		"169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false, "224.0.0.1": false, "ff02::1": false, "255.255.255.255": false,
	} {
		if err := proxyable(ip); (err == nil) != want {
			t.Errorf("%q: %v, want %v", ip, err, want)
		}
	}
}
