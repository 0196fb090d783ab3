package server

import "testing"

// TestStartsWithoutReachableAddress: a server for this machine alone, whose address cannot be an endpoint, gets ready all the same.
func TestStartsWithoutReachableAddress(t *testing.T) {
	_, stop := running(t, t.TempDir())
	stop()
}
