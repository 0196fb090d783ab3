package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"codeberg.org/skiff/skiff/server/api"
)

// Migrate writes those objects of a kind again, last written at revision upTo or before, that are stored in another form
// than they would be stored in now: another version, JSON instead of protobuf, another key. It returns how many it
// looked at. An object that changes meanwhile is left to whoever changed it, and one that cannot be read is left alone.
// It is for kinds whose objects are held in their hub version; those that are not, the registry migrates.
func (s *Store) Migrate(ctx context.Context, k *api.Kind, upTo int64) (looked int, err error) {
	m := s.member.Load()
	if m == nil {
		return 0, fmt.Errorf("etcd is not serving: %w", ErrUnavailable)
	}
	only := newLayout([]*api.Kind{k})
	err = m.walk(ctx, k.Prefix, 0, func(kv *mvccpb.KeyValue) error {
		if _, _, ok := only.locate([]*table{{kind: k}}, string(kv.Key)); !ok {
			return nil
		}
		if looked++; kv.ModRevision > upTo {
			return nil
		}
		if err := s.migrate(ctx, k, kv); err != nil {
			return fmt.Errorf("migrate %s: %w", kv.Key, err)
		}
		return nil
	})
	return looked, err
}

func (s *Store) migrate(ctx context.Context, k *api.Kind, kv *mvccpb.KeyValue) error {
	plain, err := s.cache.unseal(k, string(kv.Key), kv.Value)
	if err != nil {
		return nil //nolint:nilerr // unreadable, see above
	}
	obj, err := decodeAny(k, plain)
	if err != nil {
		return nil //nolint:nilerr // unreadable, see above
	}
	now, err := encode(k, obj)
	if err != nil {
		return err
	}
	t := s.cfg.Transformer
	if bytes.Equal(now, plain) && (t == nil || !t.Covers(k.GroupResource()) || !t.Stale(k.GroupResource(), kv.Value)) {
		return nil
	}
	sealed, end, err := s.seal(k, kv.Key, now)
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	put := &pb.PutRequest{Key: kv.Key, Value: sealed, Lease: kv.Lease}
	_, _, err = s.txn(ctx, kv.Key, kv.ModRevision, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
	if errors.Is(err, errMismatch) {
		return nil
	}
	return err
}
