package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Files that work in places which a container can write: volumes, logs, what the node mounts for a pod. There a path that was looked
// at a moment ago may lead elsewhere now, so files are reached through descriptors (internal/beneath, os.Root), not by path.
var guarded = []string{
	"agent/kubelet/volume/*.go", "runtime/logs/*.go",
	"agent/kubelet/checkpoint.go", "agent/kubelet/containerspec.go", "agent/kubelet/files.go", "agent/kubelet/housekeeping.go",
	"agent/kubelet/localstorage.go", "agent/kubelet/measure.go", "agent/kubelet/evict.go", "agent/kubelet/logfiles.go", "agent/kubelet/mounts.go", "agent/kubelet/observe.go",
	"agent/kubelet/podfiles.go", "agent/kubelet/sandbox.go", "agent/kubelet/start.go", "agent/kubelet/worker.go", "agent/kubelet/httpapi/logs.go",
}

// byPath are the functions that take a path and do something with what is there.
var byPath = map[string][]string{
	"os": {"Chdir", "Chmod", "Chown", "Chtimes", "CopyFS", "Create", "CreateTemp", "DirFS", "Lchown", "Link", "Lstat", "Mkdir", "MkdirAll", "MkdirTemp",
		"Open", "OpenFile", "OpenInRoot", "OpenRoot", "ReadDir", "ReadFile", "Readlink", "Remove", "RemoveAll", "Rename", "Stat", "Symlink", "Truncate", "WriteFile"},
	"path/filepath": {"EvalSymlinks", "Glob", "Walk", "WalkDir"},
	"io/ioutil":     {"ReadAll", "ReadDir", "ReadFile", "TempDir", "TempFile", "WriteFile"},
	"golang.org/x/sys/unix": {"Access", "Chdir", "Chmod", "Chown", "Chroot", "Creat", "Faccessat", "Fchmodat", "Fchownat", "Fstatat", "Getxattr", "InotifyAddWatch", "Lchown",
		"Lgetxattr", "Link", "Linkat", "Listxattr", "Lsetxattr", "Lstat", "Mkdir", "Mkdirat", "Mkfifo", "Mknod", "Mknodat", "Mount", "MountSetattr", "MoveMount",
		"Open", "OpenTree", "Openat", "Openat2", "PivotRoot", "Readlink", "Readlinkat", "Removexattr", "Rename", "Renameat", "Renameat2", "Rmdir", "Setxattr",
		"Stat", "Statfs", "Statx", "Symlink", "Symlinkat", "Truncate", "Unlink", "Unlinkat", "Unmount", "Utimes", "UtimesNanoAt"},
}

// byPathToo: nobody needs package syscall for files there.
func init() { byPath["syscall"] = byPath["golang.org/x/sys/unix"] }

// exceptions by "file function call", each with the reason why no container can change where the path leads, or why it does no harm.
var exceptions = map[string]string{
	"agent/kubelet/files.go watchFiles os.MkdirAll":             "the administrator's directory of static pods",
	"agent/kubelet/files.go watchFiles unix.InotifyAddWatch":    "the administrator's directory of static pods",
	"agent/kubelet/files.go readFiles os.ReadDir":               "the administrator's directory of static pods",
	"agent/kubelet/files.go readFile os.OpenFile":               "the administrator's directory of static pods; a pipe does not block",
	"agent/kubelet/housekeeping.go sweep os.ReadDir":            "names in the node's own directories, above what is mounted",
	"agent/kubelet/logfiles.go logRoot os.OpenRoot":             "the configured log directory itself, whose parents are root's",
	"agent/kubelet/logfiles.go logRoot os.MkdirAll":             "the configured log directory itself, whose parents are root's",
	"agent/kubelet/logfiles.go makeDirs os.MkdirAll":            "the node's own directory, above what is mounted",
	"agent/kubelet/mounts.go makeMountPoints os.Stat":           "only asks whether a source that the runtime will mount is a directory",
	"agent/kubelet/podfiles.go writeNetFiles os.ReadFile":       "the host's own hosts and resolv.conf",
	"agent/kubelet/sandbox.go sandboxSpec os.Stat":              "a file of /proc/sys",
	"agent/kubelet/volume/claim.go local os.Stat":               "words an error only",
	"agent/kubelet/volume/hostpath.go makeHostPath os.Stat":     "looks whether there is anything to make; making goes through descriptors",
	"agent/kubelet/volume/hostpath.go resolveOne os.Readlink":   "links in /, /usr and /var, which belong to the system's layout",
	"agent/kubelet/volume/hostpath.go checkType os.Stat":        "says what a host path is that the pod's author may mount anyway",
	"agent/kubelet/volume/memory.go MemoryUse unix.Statfs":      "the path of an open descriptor",
	"agent/kubelet/volume/mount.go EnsureMemory os.MkdirAll":    "the node's own directory in /run",
	"agent/kubelet/volume/mount.go EnsureMemory unix.Statfs":    "the node's own directory in /run",
	"agent/kubelet/volume/mount.go EnsureMemory unix.Mount":     "the node's own directory in /run",
	"agent/kubelet/volume/mount.go mountPoints os.Open":         "a file of /proc",
	"agent/kubelet/volume/mountpoint.go MountPoint os.OpenRoot": "a volume that the node made, or its subPath: its path has no part that a container can change",
	"agent/kubelet/volume/payload.go writeVolume os.OpenRoot":   "the path of an open descriptor",
	"agent/kubelet/volume/volume.go openRoot os.MkdirAll":       "the node's own directory, above all volumes",
	"runtime/logs/place.go MakeDir os.MkdirAll":                 "the configured log directory itself, whose parents are root's",
	"runtime/logs/watch.go newWatch unix.InotifyAddWatch":       "the path of an open descriptor",
}

// TestPathsInContainersHands holds that the guarded files use no function that takes a path, but for the exceptions.
func TestPathsInContainersHands(t *testing.T) {
	used := map[string]bool{}
	for _, pattern := range guarded {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Errorf("%s: no such files (%v)", pattern, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, call := range pathCalls(t, file) {
				if used[call] = true; exceptions[call] == "" {
					t.Errorf("%s: by path, where a container may exchange it for a link. Use internal/beneath or os.Root", call)
				}
			}
		}
	}
	for e := range exceptions {
		if !used[e] {
			t.Errorf("the exception %q is not needed any more", e)
		}
	}
}

// TestPathCalls holds that a use is found however it is written.
func TestPathCalls(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.go")
	source := "package x\nimport (\"os\"; u \"golang.org/x/sys/unix\"; \"path/filepath\")\nvar rm = os.RemoveAll\n" +
		"func f(r *os.Root) { go func() { u.Mount(filepath.Join(), \"\", \"\", 0, \"\") }(); r.Open(\"\"); os.Getpid() }\n"
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := strings.ReplaceAll(strings.Join(pathCalls(t, file), "; "), file+" ", ""); got != "- os.RemoveAll; f u.Mount" {
		t.Errorf("found %q", got)
	}
}

// pathCalls lists a file's uses of functions by path, as "file function call".
func pathCalls(t *testing.T, file string) (out []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	imported := map[string]string{} // name in the file → import path
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		name := filepath.Base(path)
		if i.Name != nil {
			name = i.Name.Name
		}
		if byPath[path] != nil && (name == "." || name == "_") {
			t.Errorf("%s imports %s as %s, which hides what it calls", file, path, name)
		}
		imported[name] = path
	}
	for _, d := range f.Decls {
		where := "-"
		if fn, ok := d.(*ast.FuncDecl); ok {
			where = fn.Name.Name
		}
		ast.Inspect(d, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := s.X.(*ast.Ident)
			if ok && slices.Contains(byPath[imported[x.Name]], s.Sel.Name) {
				out = append(out, fmt.Sprintf("%s %s %s.%s", file, where, x.Name, s.Sel.Name))
			}
			return true
		})
	}
	return out
}
