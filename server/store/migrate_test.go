package store

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"codeberg.org/skiff/skiff/server/api"
)

// What is stored as JSON, as an older program may have, becomes protobuf; what is protobuf is left alone.
func TestMigrateBringsObjectsToTheFormOfNow(t *testing.T) {
	k := &api.Kind{Kind: "ConfigMap", Plural: "configmaps", Namespaced: true, Prefix: "/registry/configmaps",
		Versions: []api.Version{{Version: "v1", New: func() api.Object { return &corev1.ConfigMap{} }, NewList: func() runtime.Object { return &corev1.ConfigMapList{} }}}}
	c, err := api.NewCatalogue([]*api.Kind{k})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Dir: t.TempDir(), Catalogue: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-s.Ready()
	current, err := s.Create(ctx, k, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "current"}})
	if err != nil {
		t.Fatal(err)
	}
	old, err := json.Marshal(&corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "old"}, Data: map[string]string{"x": "y"}})
	if err != nil {
		t.Fatal(err)
	}
	key := etcdKey(k, "a", "old")
	written, _, err := s.txn(ctx, key, 0, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: old}}})
	if err != nil {
		t.Fatal(err)
	}
	for round, want := range []bool{true, false} {
		n, err := s.Migrate(ctx, k, written)
		if err != nil || n != 2 {
			t.Fatalf("looked at %d (%v)", n, err)
		}
		got := s.Snapshot().Get(k, "a", "old").(*corev1.ConfigMap)
		if changed := revisionOf(got) != written; changed != want || got.Data["x"] != "y" {
			t.Errorf("round %d: written again: %v; data %v", round, changed, got.Data)
		}
		if written = revisionOf(got); s.Snapshot().Get(k, "a", "current").GetResourceVersion() != current.GetResourceVersion() {
			t.Error("what is current was written")
		}
	}
	kv, err := s.member.Load().server.KV().Range(ctx, key, nil, mvcc.RangeOptions{})
	if err != nil || len(kv.KVs) != 1 || !bytes.HasPrefix(kv.KVs[0].Value, protobufMagic) {
		t.Errorf("it is not stored as protobuf (%v)", err)
	}
}
