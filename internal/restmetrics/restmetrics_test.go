package restmetrics

import (
	"context"
	"testing"

	"k8s.io/client-go/tools/metrics"
)

// TestGatherer: what client-go counts is shown, and nothing else.
func TestGatherer(t *testing.T) {
	metrics.RequestResult.Increment(context.Background(), "200", "GET", "here")
	families, err := Gatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "rest_client_requests_total" {
			return
		}
	}
	t.Errorf("rest_client_requests_total is not among %d", len(families))
}
