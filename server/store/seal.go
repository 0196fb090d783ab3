package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/store/encrypt"
)

// Transformer changes values on their way into etcd and back; encrypt.Live is one. It must be safe for concurrent use.
type Transformer interface {
	// Covers says whether values of the resource are (or may be) changed.
	Covers(gr schema.GroupResource) bool
	// Seal returns what to store under an etcd key; Open returns what was sealed, or what is not sealed as it is.
	Seal(gr schema.GroupResource, key string, plain []byte) ([]byte, error)
	Open(gr schema.GroupResource, key string, stored []byte) ([]byte, error)
	// Stale says whether a stored value has another form than Seal gives it now.
	Stale(gr schema.GroupResource, stored []byte) bool
	// Header names the form of a stored value, for people.
	Header(stored []byte) string
}

// errSealed: a value cannot be opened, with any key there is.
var errSealed = errors.New("unable to transform")

// seal returns what is stored of an encoded object, and the end of the write: until it is called, Rewrite waits.
func (s *Store) seal(k *api.Kind, key, value []byte) (sealed []byte, done func(), err error) {
	t := s.cfg.Transformer
	if t == nil || !t.Covers(k.GroupResource()) {
		return value, func() {}, nil
	}
	s.sealing.RLock()
	if sealed, err = t.Seal(k.GroupResource(), string(key), value); err != nil {
		s.sealing.RUnlock()
		return nil, nil, fmt.Errorf("encrypt: %w", err)
	}
	return sealed, s.sealing.RUnlock, nil
}

// unseal returns the encoded object that is stored under a key.
func (c *cache) unseal(k *api.Kind, etcdKey string, stored []byte) ([]byte, error) {
	if c.transformer == nil {
		return stored, nil
	}
	plain, err := c.transformer.Open(k.GroupResource(), etcdKey, stored)
	if err != nil {
		return nil, fmt.Errorf("%w key %q: %w", errSealed, etcdKey, err)
	}
	return plain, nil
}

// awaitSealing returns when every write that was being sealed when it was called has arrived.
func (s *Store) awaitSealing() {
	s.sealing.Lock()
	defer s.sealing.Unlock()
}

// Rewrite writes every value again that is stored in another form than the transformer gives it now. When it returns
// without an error, all that was written before the call is in that form, except what cannot be opened.
func (s *Store) Rewrite(ctx context.Context) (done encrypt.Rewritten, err error) {
	// Writes that were sealed by the transformer of before must have arrived before the scan.
	s.awaitSealing()
	err = s.eachSealed(ctx, func(k *api.Kind, kv *mvccpb.KeyValue) error {
		if !s.cfg.Transformer.Stale(k.GroupResource(), kv.Value) {
			return nil
		}
		switch err := s.rewrite(ctx, k, kv); {
		case errors.Is(err, errSealed):
			done.Unreadable++
		case err != nil:
			return fmt.Errorf("rewrite %s: %w", kv.Key, err)
		default:
			done.Values++
		}
		return nil
	})
	return done, err
}

// rewrite stores one value in the form of now. A value that was changed or deleted meanwhile needs it no more.
func (s *Store) rewrite(ctx context.Context, k *api.Kind, kv *mvccpb.KeyValue) error {
	plain, err := s.cache.unseal(k, string(kv.Key), kv.Value)
	if err != nil {
		return err
	}
	sealed, end, err := s.seal(k, kv.Key, plain)
	if err != nil {
		return err
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	put := &pb.PutRequest{Key: kv.Key, Value: sealed, IgnoreLease: false, Lease: kv.Lease}
	_, _, err = s.txn(ctx, kv.Key, kv.ModRevision, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
	if errors.Is(err, errMismatch) {
		return nil
	}
	return err
}

// Reopen writes again the values that could not be opened and can be now, so that they are shown. It returns how many.
func (s *Store) Reopen(ctx context.Context) (n int, err error) {
	snap, t := s.Snapshot(), s.cfg.Transformer
	if t == nil {
		return 0, nil
	}
	for _, k := range snap.layout.kinds() {
		if !t.Covers(k.GroupResource()) || snap.UnreadableCount(k, "") == 0 {
			continue
		}
		hidden := map[string]bool{}
		snap.table(k).damaged.Scan(func(key string, why error) bool {
			hidden[k.Prefix+"/"+key] = errors.Is(why, errSealed)
			return true
		})
		err = s.eachOf(ctx, k, func(kv *mvccpb.KeyValue) error {
			if !hidden[string(kv.Key)] {
				return nil
			}
			switch err := s.rewrite(ctx, k, kv); {
			case errors.Is(err, errSealed): // still
				return nil
			case err != nil:
				return fmt.Errorf("write %s again: %w", kv.Key, err)
			}
			n++
			return nil
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Tally counts stored values by their form. Only resources that may be encrypted are looked at.
func (s *Store) Tally(ctx context.Context) (map[string]int, error) {
	count := map[string]int{}
	err := s.eachSealed(ctx, func(_ *api.Kind, kv *mvccpb.KeyValue) error {
		count[s.cfg.Transformer.Header(kv.Value)]++
		return nil
	})
	return count, err
}

// eachSealed visits what is stored now of every kind that the transformer covers, a page at a time.
func (s *Store) eachSealed(ctx context.Context, visit func(*api.Kind, *mvccpb.KeyValue) error) error {
	t := s.cfg.Transformer
	if t == nil {
		return nil
	}
	snap := s.Snapshot()
	for _, k := range snap.layout.kinds() {
		if !t.Covers(k.GroupResource()) {
			continue
		}
		if err := s.eachOf(ctx, k, func(kv *mvccpb.KeyValue) error { return visit(k, kv) }); err != nil {
			return err
		}
	}
	return nil
}

// eachOf visits what is stored now of one kind, a page at a time.
func (s *Store) eachOf(ctx context.Context, k *api.Kind, visit func(*mvccpb.KeyValue) error) error {
	m := s.member.Load()
	if m == nil {
		return fmt.Errorf("etcd is not serving: %w", ErrUnavailable)
	}
	only := newLayout([]*api.Kind{k})
	return m.walk(ctx, k.Prefix, 0, func(kv *mvccpb.KeyValue) error {
		if _, _, ok := only.locate([]*table{{kind: k}}, string(kv.Key)); !ok {
			return nil
		}
		return visit(kv)
	})
}

// Unreadable says why an object that is stored cannot be shown: its value cannot be decrypted or decoded. Nil if it is
// there, or not stored at all.
func (s *Snapshot) Unreadable(k *api.Kind, namespace, name string) error {
	t := s.table(k)
	if t == nil || t.damaged == nil {
		return nil
	}
	err, _ := t.damaged.Get(k.Key(namespace, name))
	return err
}

// UnreadableCount is how many objects of a namespace ("": all) cannot be shown.
func (s *Snapshot) UnreadableCount(k *api.Kind, namespace string) (n int) {
	t := s.table(k)
	if t == nil || t.damaged == nil {
		return 0
	}
	prefix := ""
	if namespace != "" && k.Namespaced {
		prefix = namespace + "/"
	}
	t.damaged.Ascend(prefix, func(key string, _ error) bool {
		if len(key) < len(prefix) || key[:len(prefix)] != prefix {
			return false
		}
		n++
		return true
	})
	return n
}

func logUnreadable(log *slog.Logger, key string, rev int64, err error) {
	log.Error("An object in etcd cannot be read and is hidden; delete it or write it again", "key", key, "revision", rev, "error", err)
}
