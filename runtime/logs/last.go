package logs

import "strings"

// window is how much of a log's end Last looks at, in bytes.
const window = 64 << 10

// Last returns the last lines of a log, without their stamps: at most so many lines and bytes. What cannot be read is "".
func Last(path string, lines, bytes int) string {
	f, err := open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	off := max(0, st.Size()-window)
	buf := make([]byte, st.Size()-off)
	if _, err := f.ReadAt(buf, off); err != nil {
		return ""
	}
	var out []string
	for line := range strings.Lines(string(buf)) {
		// <time> <stream> <P|F> <text>
		if f := strings.SplitN(line, " ", 4); len(f) == 4 {
			text := f[3]
			if f[2] == "P" {
				text = strings.TrimSuffix(text, "\n")
			}
			out = append(out, text)
		}
	}
	if len(out) > lines {
		out = out[len(out)-lines:]
	}
	s := strings.Join(out, "")
	if len(s) > bytes {
		s = s[len(s)-bytes:]
	}
	return s
}
