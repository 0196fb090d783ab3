package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/rootpath"
)

// maxAccounts is how much of /etc/passwd and /etc/group is read, in bytes.
const maxAccounts = 4 << 20

// Accounts are the users and groups of an image: its /etc/passwd and /etc/group as a container of it sees them, that is in
// the tree that its layers make together.
type Accounts struct {
	users  []Account
	groups []group
}

// Account is a line of /etc/passwd.
type Account struct {
	Name     string
	UID, GID uint32
}

type group struct {
	name    string
	gid     uint32
	members []string
}

// ReadAccounts reads them from an image's layers, lowest first. An image without the files has no accounts; one whose files
// cannot be read, because they are no regular files or their links lead nowhere but in a circle, is an error.
func ReadAccounts(layers []string) (Accounts, error) {
	var a Accounts
	stack := rootpath.NewStack(layers)
	err := eachLine(stack, "etc/passwd", 4, func(f []string) {
		uid, ok1 := parseID(f[2])
		gid, ok2 := parseID(f[3])
		if ok1 && ok2 {
			a.users = append(a.users, Account{f[0], uid, gid})
		}
	})
	if err != nil {
		return a, err
	}
	return a, eachLine(stack, "etc/group", 3, func(f []string) {
		gid, ok := parseID(f[2])
		if !ok {
			return
		}
		g := group{name: f[0], gid: gid}
		if len(f) > 3 {
			g.members = strings.Split(f[3], ",")
		}
		a.groups = append(a.groups, g)
	})
}

// ByName finds a user.
func (a Accounts) ByName(name string) (Account, bool) {
	return first(a.users, func(u Account) bool { return u.Name == name })
}

// ByID finds the first user of a number.
func (a Accounts) ByID(uid uint32) (Account, bool) {
	return first(a.users, func(u Account) bool { return u.UID == uid })
}

// Group finds a group by its name, or takes a number as it is.
func (a Accounts) Group(s string) (uint32, bool) {
	if gid, ok := parseID(s); ok {
		return gid, true
	}
	g, ok := first(a.groups, func(g group) bool { return g.name == s })
	return g.gid, ok
}

// Memberships are the groups of /etc/group that list a user, each once.
func (a Accounts) Memberships(user string) []uint32 {
	var out []uint32
	for _, g := range a.groups {
		if slices.Contains(g.members, user) && !slices.Contains(out, g.gid) {
			out = append(out, g.gid)
		}
	}
	return out
}

func first[T any](list []T, is func(T) bool) (T, bool) {
	if i := slices.IndexFunc(list, is); i >= 0 {
		return list[i], true
	}
	var none T
	return none, false
}

// parseID takes 0 to 2³¹-1, as Kubernetes does for runAsUser.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err == nil
}

// eachLine gives the fields of the lines of a file like /etc/passwd that have so many at least.
func eachLine(stack rootpath.Stack, name string, fields int, do func([]string)) error {
	data, err := stack.ReadFile(name, maxAccounts)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the image's /%s: %w", name, err)
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if f := strings.Split(line, ":"); len(f) >= fields && line[0] != '#' {
			do(f)
		}
	}
	return nil
}
