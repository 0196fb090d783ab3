package rootpath

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// layer makes a directory of files (text), links ("->target"), directories (name ends in /) and whiteouts ("-").
func layer(t *testing.T, files map[string]string, opaque ...string) string {
	t.Helper()
	dir := t.TempDir()
	check := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		switch {
		case text == "-":
			check(unix.Mknod(path, unix.S_IFCHR, 0))
		case len(text) > 2 && text[:2] == "->":
			check(os.Symlink(text[2:], path))
		case text == "fifo":
			check(unix.Mkfifo(path, 0o644))
		default:
			check(os.WriteFile(path, []byte(text), 0o644))
		}
	}
	for _, d := range opaque {
		check(os.MkdirAll(filepath.Join(dir, d), 0o755))
		check(unix.Setxattr(filepath.Join(dir, d), opaqueXattr, []byte("y"), 0))
	}
	return dir
}

func TestStackReadsTheMergedTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: whiteouts are devices")
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("the host's"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		layers []string
		file   string
		want   string // "" for none
	}{
		"lower":                   {[]string{layer(t, map[string]string{"etc/passwd": "a"}), layer(t, map[string]string{"etc/other": "b"})}, "etc/passwd", "a"},
		"upper wins":              {[]string{layer(t, map[string]string{"etc/passwd": "a"}), layer(t, map[string]string{"etc/passwd": "b"})}, "etc/passwd", "b"},
		"whiteout":                {[]string{layer(t, map[string]string{"etc/passwd": "a"}), layer(t, map[string]string{"etc/passwd": "-"})}, "etc/passwd", ""},
		"whiteout of a directory": {[]string{layer(t, map[string]string{"etc/passwd": "a"}), layer(t, map[string]string{"etc": "-"})}, "etc/passwd", ""},
		"back after a whiteout": {[]string{layer(t, map[string]string{"etc/passwd": "a"}), layer(t, map[string]string{"etc/passwd": "-"}),
			layer(t, map[string]string{"etc/passwd": "c"})}, "etc/passwd", "c"},
		"opaque":                  {[]string{layer(t, map[string]string{"etc/passwd": "a"}), layer(t, map[string]string{"etc/x": "b"}, "etc")}, "etc/passwd", ""},
		"opaque root":             {[]string{layer(t, map[string]string{"etc/passwd": "a"}), layer(t, map[string]string{"x": "b"}, ".")}, "etc/passwd", ""},
		"above an opaque one":     {[]string{layer(t, map[string]string{"etc/x": "a"}), layer(t, nil, "etc"), layer(t, map[string]string{"etc/passwd": "c"})}, "etc/passwd", "c"},
		"file hides a directory":  {[]string{layer(t, map[string]string{"etc/passwd": "a"}), layer(t, map[string]string{"etc": "b"})}, "etc/passwd", ""},
		"absolute link":           {[]string{layer(t, map[string]string{"usr/lib/passwd": "a"}), layer(t, map[string]string{"etc/passwd": "->/usr/lib/passwd"})}, "etc/passwd", "a"},
		"linked directory":        {[]string{layer(t, map[string]string{"usr/etc/passwd": "a"}), layer(t, map[string]string{"etc": "->usr/etc"})}, "etc/passwd", "a"},
		"link up and over":        {[]string{layer(t, map[string]string{"b/passwd": "a"}), layer(t, map[string]string{"etc/passwd": "->../../../b/passwd"})}, "etc/passwd", "a"},
		"link to what is hidden":  {[]string{layer(t, map[string]string{"b/passwd": "a"}), layer(t, map[string]string{"etc/passwd": "->/b/passwd", "b/passwd": "-"})}, "etc/passwd", ""},
		"link out":                {[]string{layer(t, map[string]string{"etc/passwd": "->" + secret})}, "etc/passwd", ""},
		"link out by ..":          {[]string{layer(t, map[string]string{"etc/passwd": "->../../../../../../../.." + secret})}, "etc/passwd", ""},
		"directory is a link out": {[]string{layer(t, map[string]string{"etc": "->" + filepath.Dir(secret)})}, "etc/secret", ""},
		"loop":                    {[]string{layer(t, map[string]string{"etc/passwd": "->passwd"})}, "etc/passwd", "!"},
		"fifo":                    {[]string{layer(t, map[string]string{"etc/passwd": "fifo"})}, "etc/passwd", "!"},
		"no more than asked for":  {[]string{layer(t, map[string]string{"etc/passwd": "0123456789abcdef"})}, "etc/passwd", "0123456789"},
	} {
		got, err := NewStack(c.layers).ReadFile(c.file, 10)
		switch {
		case c.want == "" && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR):
			t.Errorf("%s: %q, %v; want none", name, got, err)
		case c.want == "!" && (err == nil || errors.Is(err, fs.ErrNotExist)):
			t.Errorf("%s: %q, %v; want an error", name, got, err)
		case c.want != "" && c.want != "!" && (err != nil || string(got) != c.want):
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}
