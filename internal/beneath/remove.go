package beneath

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// flat is how deep RemoveAll descends before it lifts a directory up, so that no tree needs more descriptors than that.
const flat = 64

// RemoveAll removes name, directly in the place, with everything below it. It follows no link and enters no other mount: a tree that
// somebody mounted in there is left alone, and is the error. Missing is fine.
func (p *Place) RemoveAll(name string) error {
	if err := single(name); err != nil {
		return p.wrap("remove", name, err)
	}
	done, err := p.unlink(name)
	if done {
		return p.wrap("remove", name, err)
	}
	top, err := openDir(p.fd, name)
	if err != nil {
		return p.wrap("remove", name, gone(err))
	}
	defer top.Close()
	r := remover{top: &Place{int(top.Fd()), p.name + "/" + name}}
	for {
		lifted := r.lifted
		if err := r.empty(top, r.top, 0); err != nil {
			return err
		}
		err := unix.Unlinkat(p.fd, name, unix.AT_REMOVEDIR)
		if !errors.Is(err, unix.ENOTEMPTY) || r.lifted == lifted {
			return p.wrap("remove", name, gone(err))
		}
		if _, err := top.Seek(0, 0); err != nil {
			return err
		}
	}
}

type remover struct {
	top    *Place
	lifted int
}

// empty a directory. at is the same directory, for its name.
func (r *remover) empty(d *os.File, at *Place, depth int) error {
	return eachName(d, func(name string) error {
		done, err := at.unlink(name)
		if done {
			return at.wrap("remove", name, err)
		}
		if depth >= flat {
			r.lifted++
			err := unix.Renameat(at.fd, name, r.top.fd, ".skiff-lifted-"+strconv.Itoa(r.lifted))
			return at.wrap("remove", name, gone(err))
		}
		sub, err := openDir(at.fd, name)
		if err != nil {
			return at.wrap("remove", name, gone(err))
		}
		defer sub.Close()
		if err := r.empty(sub, &Place{int(sub.Fd()), at.name + "/" + name}, depth+1); err != nil {
			return err
		}
		return at.wrap("remove", name, gone(unix.Unlinkat(at.fd, name, unix.AT_REMOVEDIR)))
	})
}

// unlink removes what is no directory, or an empty one. It is not done when there is a directory to empty first.
func (p *Place) unlink(name string) (done bool, err error) {
	if err = gone(unix.Unlinkat(p.fd, name, 0)); err == nil {
		return true, nil
	}
	var st unix.Stat_t
	if serr := unix.Fstatat(p.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); serr != nil {
		return true, gone(serr)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return true, err
	}
	err = gone(unix.Unlinkat(p.fd, name, unix.AT_REMOVEDIR))
	return !errors.Is(err, unix.ENOTEMPTY), err
}

func gone(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
