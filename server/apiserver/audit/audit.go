package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Config of a Log: the --audit-* flags.
type Config struct {
	// PolicyFile says what is written; without it nothing is.
	PolicyFile string
	// LogPath of the log, "-" for standard output.
	LogPath string
	// LogMode is batch, blocking or blocking-strict.
	LogMode string
	// MaxSize of a log file in megabytes, MaxAge of old ones in days, MaxBackups how many of them; 0: 100, no limit, no limit.
	MaxSize, MaxAge, MaxBackups int
	// BufferBytes is how much a sink holds that is not written yet; default 16 MiB.
	BufferBytes int
	// WebhookFile is a kubeconfig that says where events are sent.
	WebhookFile string
	// WebhookMode is batch or blocking.
	WebhookMode string

	Metrics prometheus.Registerer
	Now     func() time.Time
	Log     *slog.Logger
}

// The modes of a sink.
const (
	ModeBatch    = "batch"
	ModeBlocking = "blocking"
	ModeStrict   = "blocking-strict"
)

// sink takes encoded events.
type sink interface {
	// put takes one event, in JSON without a line end. An error means that the event is lost; it was counted.
	put(event []byte) error
	run(ctx context.Context) error
}

// Log writes events. A nil Log writes none.
type Log struct {
	policy *policy
	sinks  []sink
	strict bool
	now    func() time.Time
	log    *slog.Logger
	events *prometheus.CounterVec
}

// New reads the policy and opens the log. It returns nil when there is nothing to write, or nowhere.
func New(c Config) (*Log, error) {
	if c.LogPath == "" && c.WebhookFile == "" {
		return nil, nil
	}
	if c.PolicyFile == "" {
		return nil, errors.New("--audit-log-path and --audit-webhook-config-file need --audit-policy-file")
	}
	if c.BufferBytes <= 0 {
		c.BufferBytes = 16 << 20
	}
	if c.MaxSize <= 0 {
		c.MaxSize = 100
	}
	l := &Log{now: c.Now, log: c.Log, strict: c.LogMode == ModeStrict}
	var err error
	if l.policy, err = readPolicy(c.PolicyFile); err != nil {
		return nil, err
	}
	l.events = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_audit_event_total", Help: "Audit events that were made."}, []string{"level"})
	failed := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_audit_error_total", Help: "Audit events that were lost, by sink."}, []string{"plugin"})
	for _, m := range []prometheus.Collector{l.events, failed} {
		if c.Metrics == nil {
			break
		}
		if err := c.Metrics.Register(m); err != nil {
			return nil, err
		}
	}
	if c.LogPath != "" {
		if err := checkMode("--audit-log-mode", c.LogMode, ModeBatch, ModeBlocking, ModeStrict); err != nil {
			return nil, err
		}
		f, err := openFile(c.LogPath, int64(c.MaxSize)<<20, c.MaxAge, c.MaxBackups, c.Now)
		if err != nil {
			return nil, err
		}
		l.sinks = append(l.sinks, newSink(f.write, f.close, "log", c.LogMode == "" || c.LogMode == ModeBatch, c.BufferBytes, 0, failed, c.Log))
	}
	if c.WebhookFile != "" {
		if err := checkMode("--audit-webhook-mode", c.WebhookMode, ModeBatch, ModeBlocking); err != nil {
			return nil, err
		}
		w, err := newWebhook(c.WebhookFile)
		if err != nil {
			return nil, err
		}
		l.sinks = append(l.sinks, newSink(w.send, func() error { return nil }, "webhook", c.WebhookMode != ModeBlocking, c.BufferBytes, webhookWait, failed, c.Log))
	}
	return l, nil
}

func checkMode(flag, mode string, allowed ...string) error {
	if mode == "" {
		return nil
	}
	for _, a := range allowed {
		if mode == a {
			return nil
		}
	}
	return fmt.Errorf("%s: %q is none of %q", flag, mode, allowed)
}

// Run writes what is queued until ctx ends, and then what is left.
func (l *Log) Run(ctx context.Context) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	var all sync.WaitGroup
	for _, s := range l.sinks {
		all.Go(func() {
			if err := s.run(ctx); err != nil {
				l.log.Error("the audit log ended with an error", "error", err)
			}
		})
	}
	all.Wait()
	return nil
}

// Request is what the policy looks at, and what every event of a request says.
type Request struct {
	ID   string
	User user.Info
	Verb string
	// URI as it was asked for; Path without its query, for what is no resource.
	URI, Path                             string
	Group, Version, Resource, Subresource string
	Namespace, Name                       string
	SourceIPs                             []string
	UserAgent                             string
	Received                              time.Time
}

// Begin decides the level of a request and writes the first stage. The Record is nil when nothing is to be written of it. An
// error means that the request must be refused.
func (l *Log) Begin(r *Request) (*Record, error) {
	if l == nil {
		return nil, nil
	}
	v := l.policy.decide(r)
	if v.level == v1.LevelNone {
		return nil, nil
	}
	rec := newRecord(l, r, v)
	if err := rec.emit(v1.StageRequestReceived); err != nil && l.strict {
		return nil, fmt.Errorf("audit the request: %w", err)
	}
	return rec, nil
}
