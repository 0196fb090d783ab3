package apiserver

import (
	"bytes"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/codec"
)

const (
	// keepEncodings is how long an encoding that nobody asks for is kept, at least; at most twice as long.
	keepEncodings = 10 * time.Second
	// mostEncodings is how many bytes of them are kept.
	mostEncodings = 40 << 20
)

// encodings keeps what objects were encoded to from one long list to the next. All agents list the same objects when a server is
// back, and few of the objects differ when a program lists again and again. Only what was asked for twice is kept, and not for long,
// so that a server at rest keeps nothing. An object never changes, so its address stands for it.
type encodings struct {
	mu    sync.Mutex
	forms map[formKey]*form
	bytes int
}

// formKey says what the encodings of an object depend on.
type formKey struct {
	kind   *api.Kind
	gv     schema.GroupVersion
	format codec.Format
	// event: as the first events of a watch, not as items of a list.
	event bool
}

// form holds the encodings of one formKey. It implements codec.Kept.
type form struct {
	of *encodings
	// young are those that were used since the last turn, old those that were used before.
	young, old map[runtime.Object][]byte
	asked      bool // since the last turn
	gone       bool // of has forgotten this form
}

func newEncodings() *encodings { return &encodings{forms: map[formKey]*form{}} }

// kept are the encodings of stored objects in the form that the request asks for; nil if they are not kept.
func (q *request) kept(event bool, objects int) *form {
	if q.accept.view != asIs || q.version.FromHub != nil || q.format() == codec.YAML {
		return nil
	}
	return q.encodings.open(formKey{kind: q.kind, gv: q.gvk().GroupVersion(), format: q.format(), event: event}, objects)
}

// open returns what was kept for a list or a watch of so many objects; nil if it is short or the first of its form.
func (e *encodings) open(key formKey, objects int) *form {
	if objects < heavyFrom {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	f := e.forms[key]
	if f != nil {
		f.asked = true
		return f
	}
	if len(e.forms) == 0 {
		time.AfterFunc(keepEncodings, e.turn)
	}
	e.forms[key] = &form{of: e, asked: true, young: map[runtime.Object][]byte{}}
	return nil
}

// turn drops what was not used since the last turn but one. There are turns as long as there is something to drop.
func (e *encodings) turn() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, f := range e.forms {
		for _, b := range f.old {
			e.bytes -= len(b)
		}
		if f.old, f.young = f.young, map[runtime.Object][]byte{}; len(f.old) == 0 && !f.asked {
			f.gone = true
			delete(e.forms, key)
		}
		f.asked = false
	}
	if len(e.forms) > 0 {
		time.AfterFunc(keepEncodings, e.turn)
	}
}

// Get implements codec.Kept.
func (f *form) Get(obj runtime.Object) ([]byte, bool) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	if b, ok := f.young[obj]; ok {
		return b, true
	}
	b, ok := f.old[obj]
	if ok {
		delete(f.old, obj)
		f.young[obj] = b
	}
	return b, ok
}

// Put implements codec.Kept.
func (f *form) Put(obj runtime.Object, encoded []byte) {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	if _, known := f.young[obj]; known || f.gone || f.of.bytes+len(encoded) > mostEncodings {
		return
	}
	f.young[obj] = bytes.Clone(encoded)
	f.of.bytes += len(encoded)
}
