package store

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// slogCore sends etcd's own log (zap), from Warn on, to slog.
type slogCore struct {
	log    *slog.Logger
	fields []zapcore.Field
}

// expected are warnings that etcd prints at every start of a server like ours.
var expected = map[string]bool{
	"Running http and grpc server on single port. This is not recommended for production.": true,
	"simple token is not cryptographically signed":                                         true,
	"it isn't recommended to use default name, please set a value for --name. " +
		"Note that etcd might run into issue when multiple members have the same default name": true,
}

// notYetCommitted is what etcd says about a new backend until its first commit, which is late here on purpose.
const notYetCommitted = "missing term information"

// newLogger makes etcd's logger. What etcd calls fatal ends only the goroutine that said it, after failed was told:
// etcd must never take the process with it.
func newLogger(log *slog.Logger, failed func(reason string)) *zap.Logger {
	hook := fatalHook{failed}
	return zap.New(&slogCore{log: log.With("component", "etcd")}, zap.WithFatalHook(hook), zap.WithPanicHook(hook))
}

func (c *slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{c.log, append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) || expected[e.Message] {
		return ce
	}
	return ce.AddCore(e, c)
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if e.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
		f.AddTo(enc)
	}
	if text, _ := enc.Fields["error"].(string); strings.HasSuffix(text, notYetCommitted) {
		return nil
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields))
	for key, value := range enc.Fields {
		attrs = append(attrs, slog.Any(key, value))
	}
	c.log.LogAttrs(context.Background(), level, e.Message, attrs...)
	return nil
}

func (c *slogCore) Sync() error { return nil }

type fatalHook struct{ failed func(string) }

func (h fatalHook) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	reason := ce.Message
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	for _, name := range []string{"path", "error"} {
		if value, ok := enc.Fields[name]; ok {
			reason += fmt.Sprintf(", %s: %v", name, value)
		}
	}
	h.failed(reason)
	runtime.Goexit()
}
