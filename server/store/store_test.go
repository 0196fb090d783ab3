package store_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store"
	"codeberg.org/skiff/skiff/server/store/storetest"
)

func TestLaw(t *testing.T) {
	storetest.Run(t, func(t *testing.T, kinds ...*api.Kind) *store.Store { return storetest.Open(t, kinds...) })
}

func TestStartsFastAndStopsClean(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	cfg := storetest.Config(t, storetest.ConfigMaps())
	for _, state := range []string{"empty", "with data"} {
		began := time.Now()
		_, stop := storetest.Start(t, cfg)
		took := time.Since(began)
		t.Logf("%s: ready after %v", state, took)
		if took > time.Minute {
			t.Errorf("%s: ready only after %v", state, took)
		}
		began = time.Now()
		stop()
		t.Logf("%s: stopped after %v", state, time.Since(began))
	}
}
