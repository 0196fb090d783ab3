package logs

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"os"
)

const (
	blockSize = 64 * 1024
	headSize  = 64 // enough of an entry to see its tag
)

// begin opens the file to start with and seeks to where the wanted lines start.
func (r *reader) begin(tail int64) error {
	files, err := openAll(r.path)
	if err != nil || len(files) == 0 {
		return err
	}
	chosen := len(files) - 1 // the oldest
	if tail >= 0 {
		left := tail
		for i, f := range files {
			var at int64
			if at, left, err = tailOffset(f, left, i == 0); err != nil {
				break
			}
			if _, err = f.Seek(at, io.SeekStart); err != nil {
				break
			}
			if chosen = i; left <= 0 {
				break
			}
		}
	}
	for i, f := range files {
		if i != chosen || err != nil {
			f.Close()
		}
	}
	if err != nil {
		return err
	}
	// The files between chosen and the newest are reached by next, from their beginnings.
	r.use(files[chosen])
	return nil
}

// openAll opens the files of a log, the newest first.
func openAll(path string) ([]*os.File, error) {
	var out []*os.File
	f, err := open(path)
	if err == nil {
		out = append(out, f)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for f := range older(path) {
		if len(out) > 0 && same(f, out[len(out)-1]) { // rotated between the two opens
			f.Close()
			continue
		}
		out = append(out, f)
	}
	return out, nil
}

// older opens the older files of a log, one after the other, from the newest; the receiver closes them. While a rotation
// goes on one name may be missing.
func older(path string) iter.Seq[*os.File] {
	return func(yield func(*os.File) bool) {
		for n, missing := 1, 0; missing < 2; n++ {
			f, err := open(Rotated(path, n))
			if err != nil {
				missing++
				continue
			}
			if missing = 0; !yield(f) {
				return
			}
		}
	}
}

// tailOffset finds where the last n lines of the file begin, reading it backwards in blocks. A line that was logged in
// parts is one. left is how many lines are wanted of the file before: 0 if this one has enough. newest says that a line
// without an end at the file's end counts.
func tailOffset(f *os.File, n int64, newest bool) (at, left int64, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return end, 0, err
	}
	ends := int64(0)    // whole lines seen
	lineStart := end    // of the raw line found last
	head := []byte(nil) // what follows the block
	open := newest      // the last raw line is an unfinished one
	buf := make([]byte, blockSize+headSize)
	// visit is told each raw line's beginning and first bytes, from the last to the first.
	visit := func(start int64, first []byte) bool {
		if start == end {
			return false
		}
		partial := isPartial(first)
		if !partial || open {
			if ends++; ends > n {
				return true
			}
		}
		open, lineStart = false, start
		return false
	}
	for stop := end; stop > 0; {
		start := max(0, stop-blockSize)
		block := buf[:stop-start]
		if _, err := f.ReadAt(block, start); err != nil && !errors.Is(err, io.EOF) {
			return 0, 0, err
		}
		all := append(block, head...)
		for i := len(block); ; {
			i = bytes.LastIndexByte(block[:i], '\n')
			if i < 0 {
				break
			}
			if visit(start+int64(i)+1, all[i+1:]) {
				return lineStart, 0, nil
			}
		}
		if start == 0 && visit(0, all) {
			return lineStart, 0, nil
		}
		head = bytes.Clone(all[:min(headSize, len(all))])
		stop = start
	}
	return 0, n - ends, nil
}

// isPartial looks at the beginning of an entry.
func isPartial(first []byte) bool {
	first = first[:min(len(first), headSize)]
	_, rest, _ := bytes.Cut(first, []byte{' '})
	_, rest, _ = bytes.Cut(rest, []byte{' '})
	return len(rest) > 0 && rest[0] == 'P'
}
