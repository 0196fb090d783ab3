package container

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"codeberg.org/skiff/skiff/runtime/rootpath"
)

// Users is a sandbox's user namespace: its ids 0 to 65535 are the host's from Base on.
type Users = rootpath.Users

const (
	usersSize = 65536
	usersEnd  = 1 << 31 // some programs take ids for signed numbers
)

func (m *Manager) usersPath(id string) string { return filepath.Join(m.runDir(id), "userns") }

// takeUsersLocked finds 65536 ids of the host that no sandbox has and that the host has given to nobody. A range is free again
// when its sandbox is removed, with its containers' files; what volumes hold has the ids of inside.
func (m *Manager) takeUsersLocked(id string) (*Users, error) {
	taken := map[uint32]bool{}
	for _, s := range m.sandboxes {
		if s.info.Users != nil {
			taken[s.info.Users.Base] = true
		}
	}
	given := givenIDs("/etc/subuid", "/etc/subgid")
	for base := uint32(usersSize); base < usersEnd; base += usersSize {
		if !taken[base] && !given.overlaps(base) {
			return &Users{Base: base, Namespace: m.usersPath(id)}, nil
		}
	}
	return nil, errors.New("no range of 65536 user ids is free")
}

type idRanges [][2]uint64 // first and end

func (r idRanges) overlaps(base uint32) bool {
	for _, x := range r {
		if uint64(base) < x[1] && x[0] < uint64(base)+usersSize {
			return true
		}
	}
	return false
}

// givenIDs are what the files of subuid(5) give to users of the host, who may start processes with them. A file that is not
// there gives nothing.
func givenIDs(files ...string) (out idRanges) {
	for _, name := range files {
		raw, _ := os.ReadFile(name)
		for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
			f := strings.Split(lines.Text(), ":")
			if len(f) != 3 {
				continue
			}
			first, err := strconv.ParseUint(f[1], 10, 32)
			count, cerr := strconv.ParseUint(f[2], 10, 32)
			if err == nil && cerr == nil {
				out = append(out, [2]uint64{first, first + count})
			}
		}
	}
	return out
}

// bindUsers gives the user namespace that owns a network namespace a path.
func bindUsers(netns, target string) error {
	f, err := os.Open(netns)
	if err != nil {
		return err
	}
	defer f.Close()
	fd, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return fmt.Errorf("find the user namespace of %s: %w", netns, err)
	}
	defer unix.Close(fd)
	var theirs, ours unix.Stat_t
	if err := errors.Join(unix.Fstat(fd, &theirs), unix.Stat("/proc/self/ns/user", &ours)); err != nil {
		return err
	}
	if theirs.Ino == ours.Ino && theirs.Dev == ours.Dev {
		return errors.New("the keeper made no user namespace")
	}
	return bindFile(fmt.Sprintf("/proc/self/fd/%d", fd), target)
}

// inUserNamespace makes the container's processes and its mounts those of the sandbox's user namespace. The owners of bind mounts
// are mapped: root of the files is root of the container. Not so own, the sandbox's and the container's own folders, which have the
// namespace's ids.
func inUserNamespace(config *configs.Config, u *Users, own ...string) {
	config.Namespaces.Add(configs.NEWUSER, u.Namespace)
	ids := []configs.IDMap{{ContainerID: 0, HostID: int64(u.Base), Size: usersSize}}
	config.UIDMappings, config.GIDMappings = ids, ids
	isOwn := map[string]bool{}
	for _, source := range own {
		isOwn[source] = true
	}
	for _, mount := range config.Mounts {
		if mount.Flags&unix.MS_BIND != 0 && !isOwn[mount.Source] {
			mount.IDMapping = &configs.MountIDMapping{UserNSPath: u.Namespace}
		}
	}
}
