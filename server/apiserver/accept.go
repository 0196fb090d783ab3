package apiserver

import (
	"net/http"

	"codeberg.org/skiff/skiff/server/apiserver/codec"
	"codeberg.org/skiff/skiff/server/apiserver/negotiate"
)

// view is the form in which objects are asked for.
type view uint8

const (
	asIs view = iota
	asTable
	asPartial
)

// accept is what the client wants to read.
type accept struct {
	format codec.Format
	view   view
	// metaVersion of Table and PartialObjectMetadata: v1 or v1beta1.
	metaVersion string
	stream      bool
}

// acceptOf chooses the best that the client takes; an error lists what there is. Where there are no tables, clauses that ask for one are passed over:
// kubectl always asks for tables first, and for JSON at last.
func acceptOf(r *http.Request, tables bool) (accept, error) {
	for _, c := range negotiate.Accept(r) {
		a, ok := acceptClause(&c)
		if ok && (tables || a.view != asTable) {
			return a, nil
		}
	}
	return accept{}, errAccept(codec.Accepted)
}

func acceptClause(c *negotiate.Clause) (a accept, ok bool) {
	found := false
	for i, mediaType := range codec.Accepted {
		if c.Is(mediaType) {
			a.format, found = codec.Format(i), true
			break
		}
	}
	if !found {
		return a, false
	}
	if as := c.Params["as"]; as != "" {
		a.metaVersion = c.Params["v"]
		if c.Params["g"] != "meta.k8s.io" || a.metaVersion != "v1" && a.metaVersion != "v1beta1" {
			return a, false
		}
		switch as {
		case "Table":
			a.view = asTable
			if a.format == codec.Protobuf {
				return a, false
			}
		case "PartialObjectMetadata", "PartialObjectMetadataList":
			a.view = asPartial
		default:
			return a, false
		}
	}
	a.stream = c.Params["stream"] == "watch"
	return a, true
}
