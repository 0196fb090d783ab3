package snapshot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/rootpath"
)

// maxAccounts is how much of /etc/passwd and /etc/group is read.
const maxAccounts = 4 << 20

// ResolveUser finds the numeric user, group and supplementary groups that an image's USER means inside the root
// filesystem: "", "uid", "name", "uid:gid", "name:group" and mixtures. A number needs no entry in /etc/passwd; a name
// does. The groups are those of /etc/group that list the user, and are empty when a group is given.
func ResolveUser(rootfs string, user string) (uid, gid uint32, groups []uint32, err error) {
	root, err := rootpath.Open(rootfs)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("resolving user %q: %w", user, err)
	}
	defer root.Close()
	uid, gid, groups, err = resolve(root, user)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("resolving user %q: %w", user, err)
	}
	return uid, gid, groups, nil
}

func resolve(root *rootpath.Root, user string) (uid, gid uint32, groups []uint32, err error) {
	who, group, hasGroup := strings.Cut(user, ":")
	if who == "" {
		who = "0"
	}
	number, isNumber := parseID(who)
	name, found := "", false
	err = eachLine(root, "etc/passwd", func(f []string) bool {
		if len(f) < 4 {
			return true
		}
		id, ok1 := parseID(f[2])
		g, ok2 := parseID(f[3])
		if !ok1 || !ok2 || !(f[0] == who || isNumber && id == number) {
			return true
		}
		name, uid, gid, found = f[0], id, g, true
		return false
	})
	if err != nil {
		return 0, 0, nil, err
	}
	if !found {
		if !isNumber {
			return 0, 0, nil, errors.New("no such user in the image's /etc/passwd")
		}
		uid = number
	}
	if hasGroup && group != "" {
		gid, err = resolveGroup(root, group)
		return uid, gid, nil, err
	}
	if name == "" {
		return uid, gid, nil, nil
	}
	err = eachLine(root, "etc/group", func(f []string) bool {
		if len(f) < 4 || !slices.Contains(strings.Split(f[3], ","), name) {
			return true
		}
		if id, ok := parseID(f[2]); ok && !slices.Contains(groups, id) {
			groups = append(groups, id)
		}
		return true
	})
	return uid, gid, groups, err
}

func resolveGroup(root *rootpath.Root, group string) (uint32, error) {
	number, isNumber := parseID(group)
	if isNumber {
		return number, nil
	}
	found := false
	err := eachLine(root, "etc/group", func(f []string) bool {
		if len(f) >= 3 && f[0] == group {
			number, found = parseID(f[2])
		}
		return !found
	})
	if err == nil && !found {
		err = fmt.Errorf("no group %q in the image's /etc/group", group)
	}
	return number, err
}

// parseID takes 0 to 2³¹-1, as Kubernetes does for runAsUser.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err == nil
}

// eachLine gives the fields of the lines of a file like /etc/passwd to do until it returns false. No file is no lines.
func eachLine(root *rootpath.Root, name string, do func(fields []string) bool) error {
	f, err := root.OpenFile(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxAccounts))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if !do(strings.Split(line, ":")) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading /%s: %w", name, err)
	}
	return nil
}
