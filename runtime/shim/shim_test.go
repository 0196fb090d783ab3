package shim

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Of one size, as long as an encoder wants to state the size.
var firstContent, otherContent = strings.Repeat("first\n", 100), strings.Repeat("other\n", 100)

func pack(t *testing.T, content string) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	if err := Pack(&b, []byte(content)); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestInstall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent", "shim")
	first, err := install(pack(t, firstContent), dir)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(first); err != nil || string(b) != firstContent {
		t.Errorf("%q %v", b, err)
	}
	before, _ := os.Stat(first)
	if again, err := install(pack(t, firstContent), dir); again != first || err != nil {
		t.Errorf("%s %v", again, err)
	}
	if after, _ := os.Stat(first); !os.SameFile(before, after) {
		t.Error("it was written although it was there")
	}
	// A write that a power cut ended leaves a file of another name or size.
	if err := os.Truncate(first, 3); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "skiff-shim-123.tmp"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := install(pack(t, firstContent), dir); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(first); string(b) != firstContent || names(t, dir) != filepath.Base(first) {
		t.Errorf("%q in %s", b, names(t, dir))
	}
	// A byte of it was changed: the size is the same.
	if err := os.WriteFile(first, []byte("F"+firstContent[1:]), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := install(pack(t, firstContent), dir); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(first); string(b) != firstContent {
		t.Error("a shim with a changed byte is taken for whole")
	}
	// Same size, other content.
	second, err := install(pack(t, otherContent), dir)
	if err != nil || second == first || names(t, dir) != filepath.Base(second) {
		t.Errorf("%s after %s: %s %v", second, first, names(t, dir), err)
	}
}

func wrongDigest(t *testing.T) *bytes.Reader {
	b, err := io.ReadAll(pack(t, firstContent))
	if err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	return bytes.NewReader(b)
}

func TestInstallSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := pack(t, strings.Repeat("content", 100))
	cut, _ := io.ReadAll(io.LimitReader(pack(t, strings.Repeat("content", 100)), good.Size()-5))
	for what, packed := range map[string]*bytes.Reader{
		"in a file": good, "nothing": bytes.NewReader(nil), "another's digest": wrongDigest(t), "not zstd": bytes.NewReader([]byte("content of something")), "cut off": bytes.NewReader(cut),
	} {
		dir := file
		if what != "in a file" {
			dir = t.TempDir()
		}
		if path, err := install(packed, dir); err == nil {
			t.Errorf("%s: installed as %s", what, path)
		}
		if what != "in a file" && names(t, dir) != "" {
			t.Errorf("%s: left %s", what, names(t, dir))
		}
	}
}
