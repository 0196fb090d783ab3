package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"
	"go.etcd.io/raft/v3"

	"codeberg.org/skiff/skiff/server/api"
)

// Create stores obj (a hub object, whose resourceVersion must be empty) and returns it as stored, with its
// resourceVersion; the result is shared, so do not change it. ErrExists if the key is taken.
func (s *Store) Create(ctx context.Context, k *api.Kind, obj api.Object) (api.Object, error) {
	if obj.GetResourceVersion() != "" {
		return nil, fmt.Errorf("create %s: resourceVersion is set", describe(k, obj))
	}
	if s.Snapshot().Get(k, obj.GetNamespace(), obj.GetName()) != nil {
		return nil, fmt.Errorf("create %s: %w", describe(k, obj), ErrExists)
	}
	stored, _, err := s.put(ctx, k, obj, nil, 0)
	if errors.Is(err, errMismatch) {
		err = ErrExists
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", describe(k, obj), err)
	}
	return stored, nil
}

// Update replaces the object whose revision is rev, else ErrConflict (or ErrNotFound).
// An update that changes nothing writes nothing and returns the stored object.
func (s *Store) Update(ctx context.Context, k *api.Kind, obj api.Object, rev int64) (api.Object, error) {
	old := s.Snapshot().Get(k, obj.GetNamespace(), obj.GetName())
	if old != nil && revisionOf(old) > rev {
		return nil, fmt.Errorf("update %s: it is at revision %d, not %d: %w", describe(k, obj), revisionOf(old), rev, ErrConflict)
	}
	stored, current, err := s.put(ctx, k, obj, old, rev)
	if errors.Is(err, errMismatch) {
		if err = ErrConflict; current == nil {
			err = ErrNotFound
		}
	}
	if err != nil {
		return nil, fmt.Errorf("update %s: %w", describe(k, obj), err)
	}
	return stored, nil
}

// Delete removes the object whose revision is rev (0: whatever it is) and returns its last state, with the
// revision of the deletion as its resourceVersion.
func (s *Store) Delete(ctx context.Context, k *api.Kind, namespace, name string, rev int64) (api.Object, error) {
	obj, err := s.remove(ctx, k, namespace, name, rev)
	if err != nil {
		return nil, fmt.Errorf("delete %s %s: %w", k.Kind, k.Key(namespace, name), err)
	}
	return obj, nil
}

// errMismatch: the key's revision is not the expected one.
var errMismatch = errors.New("revision mismatch")

// put writes obj if its key is at revision rev (0: absent). On errMismatch current is what is there.
func (s *Store) put(ctx context.Context, k *api.Kind, obj, old api.Object, rev int64) (stored api.Object, current *mvccpb.KeyValue, err error) {
	value, err := encode(k, obj)
	if err != nil {
		return nil, nil, err
	}
	if old != nil && revisionOf(old) == rev && s.same(k, old, value) {
		return old, nil, nil
	}
	if err := s.room(purposeOf(ctx, k, obj, old)); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	key := etcdKey(k, obj.GetNamespace(), obj.GetName())
	sealed, end, err := s.seal(k, key, value)
	if err != nil {
		return nil, nil, err
	}
	defer end()
	put := &pb.PutRequest{Key: key, Value: sealed}
	if k.TTL != nil {
		if put.Lease, err = s.leaseFor(ctx, k.TTL(obj)); err != nil {
			return nil, nil, err
		}
	}
	operation := "update"
	if rev == 0 {
		operation = "create"
	}
	began := time.Now()
	written, current, err := s.txn(ctx, key, rev, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
	s.requests.observe(operation, k, began, err)
	if err != nil {
		return nil, current, err
	}
	// Usually the cache has exactly what was written; if somebody was quicker, it has something newer.
	stored = s.Snapshot().Get(k, obj.GetNamespace(), obj.GetName())
	if stored == nil || revisionOf(stored) != written {
		stored, err = decode(k, value, written)
	}
	return stored, nil, err
}

// same says whether old, which the cache holds, is stored as value.
func (s *Store) same(k *api.Kind, old api.Object, value []byte) bool {
	was, err := encode(k, old)
	return err == nil && bytes.Equal(was, value)
}

func (s *Store) remove(ctx context.Context, k *api.Kind, namespace, name string, rev int64) (api.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	key := etcdKey(k, namespace, name)
	op := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key}}}
	for {
		old := s.Snapshot().Get(k, namespace, name)
		expected := rev
		if rev == 0 && old != nil {
			expected = revisionOf(old)
		}
		if old != nil && expected < revisionOf(old) {
			return nil, ErrConflict
		}
		if expected == 0 { // not in the cache: it may be there nevertheless, hidden because it cannot be decoded
			expected = s.modRevision(ctx, key)
			if expected == 0 {
				return nil, ErrNotFound
			}
		}
		began := time.Now()
		deleted, current, err := s.txn(ctx, key, expected, op)
		s.requests.observe("delete", k, began, err)
		switch {
		case errors.Is(err, errMismatch) && current == nil:
			return nil, ErrNotFound
		case errors.Is(err, errMismatch) && rev != 0:
			return nil, ErrConflict
		case errors.Is(err, errMismatch):
			continue // somebody changed it meanwhile, and any state is to be deleted
		case err != nil:
			return nil, err
		}
		return lastState(k, namespace, name, old, expected, deleted), nil
	}
}

// lastState is what Delete returns. An object that could not be decoded has only its name.
func lastState(k *api.Kind, namespace, name string, old api.Object, expected, deleted int64) api.Object {
	if old != nil && revisionOf(old) == expected {
		return withRevision(old, revisionString(deleted))
	}
	obj := k.Hub().New()
	obj.SetNamespace(namespace)
	obj.SetName(name)
	obj.SetResourceVersion(revisionString(deleted))
	return obj
}

func (s *Store) modRevision(ctx context.Context, key []byte) int64 {
	m := s.member.Load()
	if m == nil {
		return 0
	}
	r, err := m.server.Range(ctx, &pb.RangeRequest{Key: key, KeysOnly: true})
	if err != nil || len(r.Kvs) == 0 {
		return 0
	}
	return r.Kvs[0].ModRevision
}

// txn does op if key is at revision rev (0: absent), and returns when the cache has seen the outcome: a write by the
// revision it made, and a mismatch by the state that caused it, so that a caller who tries again does not read old state.
func (s *Store) txn(ctx context.Context, key []byte, rev int64, op *pb.RequestOp) (int64, *mvccpb.KeyValue, error) {
	m := s.member.Load()
	if m == nil {
		return 0, nil, fmt.Errorf("etcd is not serving: %w", ErrUnavailable)
	}
	r, err := m.server.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: key, Target: pb.Compare_MOD, Result: pb.Compare_EQUAL,
			TargetUnion: &pb.Compare_ModRevision{ModRevision: rev}}},
		Success: []*pb.RequestOp{op},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
	})
	if err != nil {
		return 0, nil, writeError(err)
	}
	if err := s.WaitFor(ctx, r.Header.Revision); err != nil {
		return 0, nil, fmt.Errorf("wait for the cache to reach revision %d: %w: %w", r.Header.Revision, ErrOutcomeUnknown, err)
	}
	if !r.Succeeded {
		var current *mvccpb.KeyValue
		if found := r.Responses[0].GetResponseRange(); len(found.GetKvs()) > 0 {
			current = found.Kvs[0]
		}
		return 0, current, errMismatch
	}
	return r.Header.Revision, nil, nil
}

// refused are errors with which etcd has not taken a write. After any other, as a timeout, it may have.
var refused = []error{etcderrors.ErrTooManyRequests, etcderrors.ErrNoSpace, etcderrors.ErrCorrupt, raft.ErrProposalDropped}

// writeError tells a write that etcd refused from one whose outcome it did not say.
func writeError(err error) error {
	if errors.Is(err, etcderrors.ErrRequestTooLarge) {
		return ErrTooLarge
	}
	for _, known := range refused {
		if errors.Is(err, known) {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

func etcdKey(k *api.Kind, namespace, name string) []byte {
	return []byte(k.Prefix + "/" + k.Key(namespace, name))
}

func describe(k *api.Kind, obj api.Object) string {
	return k.Kind + " " + k.Key(obj.GetNamespace(), obj.GetName())
}

func revisionOf(obj api.Object) int64 {
	rev, _ := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	return rev
}
