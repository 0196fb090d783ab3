package logs

import (
	"bytes"
	"errors"
	"time"
)

// Entry of a log file.
type Entry struct {
	Time time.Time
	// Stamp is Time as it stands in the file.
	Stamp  []byte
	Stderr bool
	// Partial says that the line goes on in the next entry of the stream. Content has no newline.
	Partial bool
	Content []byte
}

var errFormat = errors.New("not an entry of a CRI log")

// Parse reads one line of a log file, with or without its newline. The entry refers to line.
func Parse(line []byte) (Entry, error) {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	stamp, rest, ok1 := bytes.Cut(line, []byte{' '})
	stream, rest, ok2 := bytes.Cut(rest, []byte{' '})
	tags, content, _ := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 {
		return Entry{}, errFormat
	}
	t, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Entry{}, errFormat
	}
	e := Entry{Time: t, Stamp: stamp, Content: content}
	switch string(stream) {
	case "stdout":
	case "stderr":
		e.Stderr = true
	default:
		return Entry{}, errFormat
	}
	tag, _, _ := bytes.Cut(tags, []byte{':'}) // more tags may follow, which say nothing to us
	switch string(tag) {
	case "F":
	case "P":
		e.Partial = true
	default:
		return Entry{}, errFormat
	}
	return e, nil
}
