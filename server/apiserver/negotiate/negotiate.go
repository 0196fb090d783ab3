// Package negotiate reads Accept, Content-Type and Accept-Encoding headers. Parsed Accept headers are remembered,
// since clients send the same few for ever. It starts no goroutine.
package negotiate

import (
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// Clause is one media range of an Accept header.
type Clause struct {
	// Type and Sub are e.g. "application" and "json", or "*".
	Type, Sub string
	Params    map[string]string
	q         float64
}

// Is tells whether the clause admits a media type.
func (c *Clause) Is(mediaType string) bool {
	main, sub, _ := strings.Cut(mediaType, "/")
	return (c.Type == "*" || c.Type == main) && (c.Sub == "*" || c.Sub == sub)
}

// cacheLimit bounds the memory a client can take by sending ever new headers.
const cacheLimit = 512

var (
	cache  sync.Map // string → []Clause
	cached atomic.Int64
)

// Accept returns the clauses of an Accept header, best first. An empty header is one clause */*.
func Accept(r *http.Request) []Clause {
	values := r.Header["Accept"]
	header := ""
	switch len(values) {
	case 0:
	case 1:
		header = values[0]
	default:
		header = strings.Join(values, ",")
	}
	if have, ok := cache.Load(header); ok {
		return have.([]Clause)
	}
	clauses := Parse(header)
	if cached.Add(1) < cacheLimit && len(header) < 2048 {
		cache.Store(strings.Clone(header), clauses)
	}
	return clauses
}

// Parse reads an Accept header.
func Parse(header string) []Clause {
	if strings.TrimSpace(header) == "" {
		return []Clause{{Type: "*", Sub: "*", q: 1}}
	}
	var out []Clause
	for _, part := range strings.Split(header, ",") {
		mediaType, params := parseRange(part)
		main, sub, ok := strings.Cut(mediaType, "/")
		if !ok || main == "" || sub == "" {
			if mediaType != "*" {
				continue
			}
			main, sub = "*", "*"
		}
		c := Clause{Type: main, Sub: sub, Params: params, q: 1}
		if q, given := params["q"]; given {
			delete(params, "q")
			if value, err := strconv.ParseFloat(q, 64); err == nil {
				c.q = value
			}
		}
		if c.q > 0 {
			out = append(out, c)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].q > out[j].q })
	return out
}

// parseRange splits a media range from its parameters. The mime package refuses the @ of OpenAPI's media types.
func parseRange(text string) (mediaType string, params map[string]string) {
	mediaType, rest, _ := strings.Cut(text, ";")
	for part := range strings.SplitSeq(rest, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			continue
		}
		if params == nil {
			params = map[string]string{}
		}
		params[strings.ToLower(name)] = strings.Trim(value, `"`)
	}
	return strings.ToLower(strings.TrimSpace(mediaType)), params
}

// ContentType returns the media type of a body without parameters; "" when none is given.
func ContentType(r *http.Request) string {
	header := r.Header.Get("Content-Type")
	if i := strings.IndexByte(header, ';'); i >= 0 {
		header = header[:i]
	}
	return strings.ToLower(strings.TrimSpace(header))
}

// Gzip tells whether the client takes gzip.
func Gzip(r *http.Request) bool {
	for _, part := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" {
			return strings.ReplaceAll(params, " ", "") != "q=0"
		}
	}
	return false
}
