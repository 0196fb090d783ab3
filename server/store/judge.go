package store

import (
	"fmt"
	"strings"
	"time"
)

// DamageError says that etcd's files cannot be used as they are. It is never got over by beginning anew.
type DamageError struct {
	// Found is what is wrong, with the path; Lost what cannot be had back from these files.
	Found, Lost string
	// Recoverable: a start with --recover goes on from what is left.
	Recoverable bool
	dir, mark   string
	aside       []string
}

// Error is one line: what was found, what is lost, how to go on.
func (e *DamageError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "etcd's data in %s: %s. Lost: %s. ", e.dir, e.Found, e.Lost)
	b.WriteString("To go on, restore the whole server directory from a backup")
	if e.Recoverable {
		b.WriteString("; or start once with --recover, which goes on from what is left")
	}
	fmt.Fprintf(&b, "; or, to begin with an empty cluster, move %s and %s away", e.dir, e.mark)
	for _, path := range e.aside {
		fmt.Fprintf(&b, " (%s is there, too)", path)
	}
	return b.String()
}

// action is what to do before etcd is opened.
type action int

const (
	// open etcd as it is.
	openAsItIs action = iota
	// beginAnew: there were never data.
	beginAnew
	// rebuildFromLog: the database is gone, but the log holds everything from the first entry on.
	rebuildFromLog
	// rebuildFromDatabase: the log is not of use; the database is what is left.
	rebuildFromDatabase
)

// judge decides what to do about what was found. It is pure.
func judge(f found, recover bool) (action, error) {
	damage := func(recoverable bool, lost, format string, args ...any) error {
		return &DamageError{Found: fmt.Sprintf(format, args...), Lost: lost, Recoverable: recoverable, dir: f.dir, mark: f.mark, aside: f.aside}
	}
	switch {
	case f.first:
		return beginAnew, nil
	case !f.member && !f.marked && len(f.aside) == 0:
		return beginAnew, nil
	case !f.member:
		return 0, damage(false, "everything", "the folder member is missing, and there were data")
	case f.log.files == 0 && !f.db.exists:
		return 0, damage(false, "everything", "neither a log nor a database is left in the folder member")
	}
	problem := logProblem(f)
	switch {
	case problem == "" && f.db.usable():
		if recover {
			return 0, fmt.Errorf("--recover: nothing is wrong with etcd's data in %s; start without it", f.dir)
		}
		return openAsItIs, nil
	case problem == "" && f.log.first == 1 && f.log.snapshot == 0:
		return rebuildFromLog, nil
	case problem == "":
		return 0, damage(false, "everything", "%s, and the log goes on from entry %d only", databaseProblem(f), max(f.log.first, f.log.snapshot+1))
	case !f.db.usable():
		return 0, damage(false, "everything", "%s, and %s", problem, databaseProblem(f))
	case !recover:
		return 0, damage(true, lostWithoutLog(f), "%s", problem)
	case f.endsEarly():
		return openAsItIs, nil // it ends earlier than it did, but later than the database
	}
	return rebuildFromDatabase, nil
}

// endsEarly: the log can be read, later than the database, but not as far as it once was.
func (f found) endsEarly() bool {
	return f.log.usable() && f.log.last >= f.db.index && f.reaches()
}

// reaches: the log goes on where the database ends.
func (f found) reaches() bool { return f.log.snapshot <= f.db.index && f.log.first <= f.db.index+1 }

// logProblem says why the log cannot be used; "" when it can.
func logProblem(f found) string {
	switch l := f.log; {
	case l.files == 0:
		return "the log " + walDir(f.dir) + " is missing or has no files"
	case l.problem != "":
		return "the log's file " + l.problem
	case l.last < f.known:
		return fmt.Sprintf("the log %s ends at entry %d%s, but had %d", walDir(f.dir), l.last, tornText(l), f.known)
	case f.db.usable() && l.last < f.db.index:
		return fmt.Sprintf("the log %s ends at entry %d%s, before the database does (%d)", walDir(f.dir), l.last, tornText(l), f.db.index)
	case f.db.usable() && !f.reaches():
		return fmt.Sprintf("the database %s ends at entry %d, before the log begins (%d)", databasePath(f.dir), f.db.index, max(l.first, l.snapshot))
	}
	return ""
}

func tornText(l logFound) string {
	if l.torn == "" {
		return ""
	}
	return " (" + l.torn + " is cut off there)"
}

func databaseProblem(f found) string {
	switch {
	case !f.db.exists:
		return "the database " + databasePath(f.dir) + " is missing"
	case f.db.problem != "":
		return "the database " + f.db.problem
	}
	return "the database " + databasePath(f.dir) + " is empty"
}

// lostWithoutLog says what --recover does not bring back.
func lostWithoutLog(f found) string {
	if f.endsEarly() {
		return fmt.Sprintf("what was written after entry %d, %d entries or more", f.log.last, f.known-f.log.last)
	}
	return fmt.Sprintf("what was written after the database's last commit (%s, revision %d; etcd commits at least every five minutes and every thousand writes)",
		f.db.written.UTC().Format(time.RFC3339), f.db.revision)
}
