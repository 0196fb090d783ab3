package unpack

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// entry is a tar header with its content.
type entry struct {
	tar.Header
	body string
}

func reg(name, body string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, body}
}
func dir(name string, mode int64) entry {
	return entry{tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}, ""}
}
func sym(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}, ""}
}
func hard(name, target string) entry {
	return entry{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}, ""}
}

func archive(t testing.TB, entries ...entry) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		h.Size = int64(len(e.body))
		h.ModTime = time.Unix(1_600_000_000, 0)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, e.body)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

func needRoot(t testing.TB) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: layers have owners, devices and trusted attributes")
	}
}

func layer(t testing.TB, entries ...entry) string {
	t.Helper()
	dir := t.TempDir()
	res, err := Layer(archive(t, entries...), dir, Limits{})
	if err == nil {
		err = Complete(dir, nil, res)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func stat(t testing.TB, path string) (st unix.Stat_t) {
	t.Helper()
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return st
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func xattr(path, name string) string {
	b := make([]byte, 256)
	n, err := unix.Lgetxattr(path, name, b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

func TestAttributes(t *testing.T) {
	needRoot(t)
	f := reg("bin/su", "x")
	f.Mode, f.Uid, f.Gid = 0o4755, 7, 8
	// A version-2 capability: cap_net_raw, permitted and effective.
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	c := reg("bin/ping", "x")
	c.Uid = 5
	c.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.a": "b"}
	s := sym("s", "/nowhere")
	s.Uid = 9
	dev := entry{Header: tar.Header{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3}}
	fifo := entry{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o600}}
	d := layer(t, dir("tmp/", 0o1777), f, c, s, dev, fifo, hard("su2", "bin/su"), reg("sparse", strings.Repeat("\x00", 2<<20)+"end"))
	su := stat(t, d+"/bin/su")
	if su.Mode != unix.S_IFREG|0o4755 || su.Uid != 7 || su.Gid != 8 || su.Mtim.Sec != 1_600_000_000 || su.Nlink != 2 {
		t.Errorf("su: %+v", su)
	}
	if stat(t, d+"/su2").Ino != su.Ino {
		t.Error("the hard link is another file")
	}
	if got := xattr(d+"/bin/ping", "security.capability"); got != capability {
		t.Errorf("capability %q", got)
	}
	if xattr(d+"/bin/ping", "trusted.overlay.redirect") != "" || xattr(d+"/bin/ping", "user.a") != "b" {
		t.Error("wrong extended attributes")
	}
	if tmp := stat(t, d+"/tmp"); tmp.Mode != unix.S_IFDIR|0o1777 || tmp.Mtim.Sec != 1_600_000_000 {
		t.Errorf("tmp: %o at %d", tmp.Mode, tmp.Mtim.Sec)
	}
	if stat(t, d+"/s").Uid != 9 {
		t.Error("owner of the symbolic link")
	}
	if n := stat(t, d+"/null"); n.Rdev != unix.Mkdev(1, 3) || n.Mode != unix.S_IFCHR|0o666 {
		t.Errorf("null: %+v", n)
	}
	if sp := stat(t, d+"/sparse"); sp.Size != 2<<20+3 || sp.Blocks*512 > 1<<20 || !strings.HasSuffix(content(t, d+"/sparse"), "\x00end") {
		t.Errorf("sparse: %d bytes in %d blocks", sp.Size, sp.Blocks)
	}
}

func TestWhiteouts(t *testing.T) {
	needRoot(t)
	d := layer(t,
		reg("a/.wh.gone", ""), reg("a/.wh..wh..opq", ""), reg("a/.wh..wh.plnk", ""),
		reg("b/.wh.again", ""), dir("b/again/", 0o755), // hidden, then new: nothing of the old one
		dir("c/new/", 0o755), reg("c/.wh.new", ""),
		reg("d", "kept"), reg(".wh.d", ""))
	if st := stat(t, d+"/a/gone"); !isWhiteout(&st) {
		t.Errorf("gone: %+v", st)
	}
	for _, p := range []string{"/a", "/b/again", "/c/new"} {
		if xattr(d+p, opaqueXattr) != "y" {
			t.Errorf("%s is not opaque", p)
		}
	}
	if content(t, d+"/d") != "kept" {
		t.Error("a whiteout hid a file of its own layer")
	}
	if _, err := os.Lstat(d + "/a/.wh..wh.plnk"); !os.IsNotExist(err) {
		t.Error("aufs metadata was unpacked")
	}
}

func TestReplacedEntries(t *testing.T) {
	needRoot(t)
	d := layer(t,
		reg("x", "1"), reg("x", "2"),
		dir("y/", 0o755), reg("y/deep/f", "1"), reg("y", "file now"),
		reg("z", "1"), dir("z/", 0o700), reg("z/f", "in"),
		reg("h", "1"), hard("h", "h"), hard("h2", "h"), hard("h2", "./h"),
		sym("l", "x"), reg("l", "not through the link"))
	if content(t, d+"/x") != "2" || content(t, d+"/y") != "file now" || content(t, d+"/z/f") != "in" || content(t, d+"/h2") != "1" {
		t.Error("wrong contents")
	}
	if content(t, d+"/l") != "not through the link" {
		t.Error("link")
	}
}

// TestLinksStayInside: links that an honest image has are followed inside the root.
func TestLinksStayInside(t *testing.T) {
	needRoot(t)
	d := layer(t,
		dir("usr/lib/", 0o755), sym("lib", "usr/lib"), reg("lib/a", "a"),
		sym("abs", "/usr"), reg("abs/lib/b", "b"),
		sym("up", "../../../../usr/lib"), reg("up/c", "c"),
		sym("etc", "/not/there/yet"), reg("etc/passwd", "made"))
	for _, f := range []string{"a", "b", "c"} {
		if content(t, d+"/usr/lib/"+f) != f {
			t.Errorf("usr/lib/%s", f)
		}
	}
	if content(t, d+"/not/there/yet/passwd") != "made" {
		t.Error("dangling link")
	}
}

func TestHostile(t *testing.T) {
	needRoot(t)
	huge := entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "huge"}}
	deep := strings.Repeat("d/", 2500) + "f"
	cases := map[string]struct {
		entries []entry
		want    string
	}{
		"parent":               {[]entry{reg("../escape", "x")}, "escapes the root"},
		"parent inside":        {[]entry{reg("a/../../escape", "x")}, "escapes the root"},
		"hard link out":        {[]entry{hard("a", "../../../etc/passwd")}, "escapes the root"},
		"hard link missing":    {[]entry{hard("a", "/etc/shadow")}, "no layer has"},
		"hard link to the dir": {[]entry{dir("d/", 0o755), hard("a", "d")}, "hard link"},
		"link loop":            {[]entry{sym("a", "b"), sym("b", "a"), reg("a/x", "x")}, "too many levels"},
		"file as directory":    {[]entry{reg("a", "x"), reg("a/b", "y")}, "not a directory"},
		"bad whiteout":         {[]entry{reg(".wh...", "")}, "bad whiteout"},
		"owner":                {[]entry{{Header: tar.Header{Typeflag: tar.TypeReg, Name: "a", Uid: 1 << 33}}}, "out of range"},
		"too long":             {[]entry{reg(deep, "x")}, "longer than"},
		"root as file":         {[]entry{reg(".", "x")}, "not a directory"},
		"unknown type":         {[]entry{{Header: tar.Header{Typeflag: 'Z', Name: "a"}}}, "unknown type"},
		"deferred link under a link": {[]entry{
			dir("a/", 0o755), hard("a/passwd", "lower"), sym("a", "/tmp")}, "no layer has"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			root := filepath.Join(base, "root")
			os.Mkdir(root, 0o755)
			res, err := Layer(archive(t, c.entries...), root, Limits{})
			if err == nil {
				err = Complete(root, nil, res)
			}
			if c.want != "" && (!errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if entries, _ := os.ReadDir(base); len(entries) != 1 {
				t.Errorf("something was written outside: %v", entries)
			}
		})
	}
	t.Run("limits", func(t *testing.T) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		huge.Size = 1 << 40
		w.WriteHeader(&huge.Header)
		if _, err := Layer(&b, t.TempDir(), Limits{}); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "exceed") {
			t.Errorf("huge: %v", err)
		}
		if _, err := Layer(archive(t, reg("a", ""), reg("b", "")), t.TempDir(), Limits{Entries: 1}); !errors.Is(err, ErrInvalid) {
			t.Errorf("entries: %v", err)
		}
	})
}

// TestComplete: what a layer only implies comes from the layers below.
func TestComplete(t *testing.T) {
	needRoot(t)
	tmp := dir("tmp/", 0o1777)
	tmp.Uid = 3
	root := dir("./", 0o750)
	low := layer(t, root, tmp, reg("usr/bin/tool", "tool"))
	top := t.TempDir()
	a := archive(t, reg("tmp/f", "x"), hard("alias", "usr/bin/tool"))
	res, err := Layer(a, top, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Complete(top, []string{low}, res); err != nil {
		t.Fatal(err)
	}
	if st := stat(t, top+"/tmp"); st.Mode&0o7777 != 0o1777 || st.Uid != 3 {
		t.Errorf("tmp: %o %d", st.Mode, st.Uid)
	}
	if st := stat(t, top); st.Mode&0o7777 != 0o750 {
		t.Errorf("root: %o", st.Mode)
	}
	if content(t, top+"/alias") != "tool" {
		t.Error("alias")
	}
	// A later entry put a link where the hard link's directory was: nothing is written through it.
	victim := t.TempDir()
	top = t.TempDir()
	res, err = Layer(archive(t, dir("a/", 0o755), hard("a/f", "usr/bin/tool"), sym("a", victim)), top, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Complete(top, []string{low}, res); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(victim); len(entries) != 0 {
		t.Errorf("written outside: %v", entries)
	}
}

// FuzzLayer: whatever the stream, nothing is written outside and nothing panics.
func FuzzLayer(f *testing.F) {
	needRoot(f)
	seeds := [][]entry{
		{reg("a/b", "x"), sym("l", "/a"), reg("l/c", "y"), hard("h", "a/b")},
		{reg("a/.wh.b", ""), dir("a/b/", 0o755), reg("../x", "")},
		{sym("a", "../.."), reg("a/evil", "x"), sym("b", "/evil"), reg("b", "y")},
		{hard("x", "y"), dir("a/", 0), reg("a/.wh..wh..opq", "")},
	}
	for _, s := range seeds {
		b, _ := io.ReadAll(archive(f, s...))
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		base := t.TempDir()
		root := filepath.Join(base, "root")
		os.Mkdir(root, 0o755)
		res, err := Layer(bytes.NewReader(data), root, Limits{Bytes: 1 << 20, Entries: 200})
		if err == nil {
			Complete(root, []string{base + "/root"}, res)
		}
		if entries, _ := os.ReadDir(base); len(entries) != 1 {
			t.Fatalf("written outside: %v", entries)
		}
		for _, p := range []string{"/evil", "/tmp/evil"} {
			if _, err := os.Lstat(p); err == nil {
				t.Fatalf("%s exists", p)
			}
		}
	})
}

// FuzzEntries puts together entries whose names, links and types matter to each other, which bytes alone hardly do.
func FuzzEntries(f *testing.F) {
	needRoot(f)
	names := []string{"a", "b", "a/b", "b/a", "a/b/c", "./a", "/b", "../a", "a/../b", ".wh.a", "a/.wh.b", "a/.wh..wh..opq", ".wh..", "./"}
	targets := []string{"a", "b", "/", "..", "../..", "/a/b", "../victim", "../victim/kept", "../../../../../../../../../../../tmp", "", "a/b"}
	types := []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeChar, tar.TypeFifo}
	f.Add([]byte{2, 0, 4, 0, 2, 0})
	f.Add([]byte{2, 0, 6, 3, 2, 7, 1, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var entries []entry
		for ; len(data) >= 3 && len(entries) < 30; data = data[3:] {
			e := entry{Header: tar.Header{Typeflag: types[int(data[0])%len(types)], Name: names[int(data[1])%len(names)], Mode: 0o755}}
			if e.Typeflag != tar.TypeDir {
				e.Name = strings.TrimSuffix(e.Name, "/")
			}
			switch e.Typeflag {
			case tar.TypeSymlink, tar.TypeLink:
				e.Linkname = targets[int(data[2])%len(targets)]
			case tar.TypeReg:
				e.body = "new"
			}
			entries = append(entries, e)
		}
		base := t.TempDir()
		for _, d := range []string{"root", "victim", "lower"} {
			os.Mkdir(filepath.Join(base, d), 0o711)
		}
		os.WriteFile(base+"/victim/kept", []byte("kept"), 0o640)
		os.WriteFile(base+"/lower/b", []byte("lower"), 0o640)
		before := stat(t, base+"/victim")
		res, err := Layer(archive(t, entries...), base+"/root", Limits{Entries: 200})
		if err == nil {
			Complete(base+"/root", []string{base + "/lower"}, res)
		}
		after := stat(t, base+"/victim")
		kept := stat(t, base+"/victim/kept")
		if content(t, base+"/victim/kept") != "kept" || before != after || kept.Mode != unix.S_IFREG|0o640 || kept.Nlink != 1 {
			t.Fatal("something outside was changed")
		}
		if list, _ := os.ReadDir(base); len(list) != 3 {
			t.Fatalf("written outside: %v", list)
		}
	})
}

func BenchmarkLayer(b *testing.B) {
	needRoot(b)
	var entries []entry
	for i := range 2000 {
		entries = append(entries, reg("usr/share/"+string(rune('a'+i%20))+"/f"+string(rune('0'+i/20)), strings.Repeat("x", 4096)))
	}
	r := archive(b, entries...)
	b.SetBytes(r.Size())
	for b.Loop() {
		r.Seek(0, io.SeekStart)
		dir := b.TempDir()
		if _, err := Layer(r, dir, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
