package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// root of all keys, and the end of their range.
var (
	rootKey = []byte("/registry/")
	rootEnd = []byte("/registry0")
)

// singlePeerURL is what a member without peers advertises; nobody listens there.
const singlePeerURL = "http://127.0.0.1:2380"

// startTimeout bounds how long etcd may take from opened to serving; recovering a long log takes a while on slow disks.
const startTimeout = 2 * time.Minute

// member is one running embedded etcd.
type member struct {
	etcd   *embed.Etcd
	server *etcdserver.EtcdServer
	// failed is closed when etcd gave up; reason says why.
	failed chan struct{}
	reason string
	once   sync.Once

	mu    sync.Mutex
	watch mvcc.WatchStream
	id    mvcc.WatchID
}

// etcdConfig tunes etcd for one member.
//
//   - The tick is slow, for each one costs CPU for ever; open asks a lone member to campaign at once instead of waiting
//     for an election timeout.
//   - The backend commits rarely: the write-ahead log is what makes a write durable, a commit only shortens the replay
//     after a crash. So a lone write costs one fsync, and at most a thousand writes or five minutes of them are replayed.
//     A commit of an idle cluster's few leases rewrites six pages of 4 KiB.
//   - Few raft entries stay in memory, for there is no follower to catch up and each is as large as the object in it, and few are read
//     back at start: etcd refuses requests, also its own, while more than 5,000 are waiting to be applied.
func etcdConfig(cfg Config, m *member) (*embed.Config, error) {
	c := embed.NewConfig()
	c.Name = cfg.Name
	c.Dir = cfg.Dir
	c.TickMs, c.ElectionMs = 500, 2500
	c.BackendBatchInterval = 5 * time.Minute
	c.BackendBatchLimit = 1000
	c.SnapshotCount = snapshotCount
	c.SnapshotCatchUpEntries = 10
	c.MaxRequestBytes = MaxObjectSize + 64<<10
	c.QuotaBackendBytes = 8 << 30
	c.AutoCompactionRetention = "0" // see compact.go
	c.CompactHashCheckTime = 24 * time.Hour
	c.EnableGRPCGateway = false
	c.BootstrapDefragThresholdMegabytes = 256
	smallSegments()
	if m != nil {
		c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newLogger(cfg.Log, m.fail))
	}
	peers, err := urls(cfg.PeerURL)
	if err != nil {
		return nil, fmt.Errorf("peer URL: %w", err)
	}
	clients, err := urls(cfg.ClientURL)
	if err != nil {
		return nil, fmt.Errorf("client URL: %w", err)
	}
	c.ListenPeerUrls, c.AdvertisePeerUrls = peers, peers
	if len(peers) == 0 {
		c.AdvertisePeerUrls, _ = urls(singlePeerURL)
	}
	c.ListenClientUrls, c.AdvertiseClientUrls = clients, clients
	c.InitialCluster = c.InitialClusterFromName(cfg.Name)
	return c, nil
}

// snapshotCount is after how many entries etcd needs no older ones; a variable for tests.
var snapshotCount uint64 = 2500

// smallSegments: two segments of the write-ahead log are allocated ahead, and 64 MiB each is a lot for a small disk.
// etcd has this as a variable of the package only.
var smallSegments = sync.OnceFunc(func() { wal.SegmentSizeBytes = 16 << 20 })

func urls(s string) ([]url.URL, error) {
	if s == "" {
		return nil, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	return []url.URL{*u}, nil
}

// open starts etcd and returns when it serves.
func open(ctx context.Context, cfg Config) (*member, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	act, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	m := &member{failed: make(chan struct{})}
	ec, err := etcdConfig(cfg, m)
	if err != nil {
		return nil, err
	}
	if err := m.start(ec); err != nil {
		return nil, fmt.Errorf("open etcd in %s (if the data is damaged, restore a backup, or try --recover): %w", cfg.Dir, err)
	}
	if err := m.awaitReady(ctx); err != nil {
		m.close()
		return nil, fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
	}
	if act != openAsItIs {
		// The first commit of new data writes what etcd wants to find in any backend.
		m.server.Backend().ForceCommit()
	}
	if err := opened(cfg); err != nil {
		m.close()
		return nil, err
	}
	if err := fillHoles(cfg.Dir); err != nil { // no such file system call, or no room: then it is as it was
		cfg.Log.Debug("the backend's file keeps its holes", "error", err)
	}
	return m, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// start runs StartEtcd on a goroutine of its own, because a fatal error ends the goroutine it happens on. That may be
// one for which StartEtcd waits for ever: then it is left behind.
func (m *member) start(ec *embed.Config) error {
	type result struct {
		etcd *embed.Etcd
		err  error
	}
	returned := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("etcd panicked: %v", p)
			}
			returned <- r
		}()
		r.etcd, r.err = embed.StartEtcd(ec)
	}()
	var r result
	select {
	case r = <-returned:
	case <-m.failed:
		select {
		case r = <-returned:
		case <-time.After(time.Second):
		}
	}
	if r.err != nil {
		return r.err
	}
	if r.etcd == nil {
		return errors.New(m.reason)
	}
	m.etcd, m.server = r.etcd, r.etcd.Server
	return nil
}

func (m *member) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	campaign := time.NewTicker(2 * time.Millisecond)
	defer campaign.Stop()
	for {
		select {
		case <-m.server.ReadyNotify():
			return nil
		case <-campaign.C:
			m.campaign(ctx)
		case <-m.failed:
			return errors.New(m.reason)
		case <-m.server.StopNotify():
			return errors.New("etcd stopped")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *member) fail(reason string) {
	m.once.Do(func() {
		m.reason = reason
		close(m.failed)
	})
}

// closeTimeout bounds how long a member that failed is waited for; a healthy one closes in milliseconds.
const closeTimeout = 10 * time.Second

// close stops etcd; false means that it did not stop and still holds its files.
func (m *member) close() bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.etcd.Close()
	}()
	select {
	case <-done:
		return true
	case <-time.After(closeTimeout):
		return false
	}
}

// follow opens the one watch on all keys, for changes after rev.
func (m *member) follow(ctx context.Context, rev int64) (<-chan mvcc.WatchResponse, error) {
	stream := m.server.Watchable().NewWatchStream()
	id, err := stream.Watch(ctx, 0, rootKey, rootEnd, rev+1)
	if err != nil {
		stream.Close()
		return nil, fmt.Errorf("watch %s from %d: %w", rootKey, rev+1, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watch, m.id = stream, id
	return stream.Chan(), nil
}

func (m *member) unfollow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watch != nil {
		m.watch.Close()
		m.watch = nil
	}
}

// requestProgress makes the watch say at which revision it is, even if no key has changed.
func (m *member) requestProgress() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watch != nil {
		m.watch.RequestProgress(m.id)
	}
}

// rangePage is how many keys are read from the backend at once.
const rangePage = 500

// scan calls visit for every key below prefix as it was at rev.
func (m *member) scan(ctx context.Context, prefix string, rev int64, visit func(*mvccpb.KeyValue)) error {
	return m.walk(ctx, prefix, rev, func(kv *mvccpb.KeyValue) error {
		visit(kv)
		return nil
	})
}

// walk is scan that ends when visit fails. With rev 0 each page is of the newest state.
func (m *member) walk(ctx context.Context, prefix string, rev int64, visit func(*mvccpb.KeyValue) error) error {
	start, end := []byte(prefix+"/"), []byte(prefix+"0") // '0' follows '/'
	for {
		page, err := m.server.KV().Range(ctx, start, end, mvcc.RangeOptions{Rev: rev, Limit: rangePage})
		if err != nil {
			return fmt.Errorf("read %s at revision %d: %w", prefix, rev, historyError(err))
		}
		for _, kv := range page.KVs {
			if err := visit(kv); err != nil {
				return err
			}
		}
		if len(page.KVs) < rangePage {
			return nil
		}
		start = append(page.KVs[len(page.KVs)-1].Key, 0)
	}
}

// historyError turns mvcc's errors into ours.
func historyError(err error) error {
	switch {
	case errors.Is(err, mvcc.ErrCompacted):
		return ErrCompacted
	case errors.Is(err, mvcc.ErrFutureRev):
		return ErrFuture
	}
	return err
}
