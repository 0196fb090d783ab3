package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"golang.org/x/net/html"
)

// rewriteResponse makes redirects and HTML links lead through the proxy.
func rewriteResponse(resp *http.Response, t Target) error {
	if t.Prefix == "" {
		return nil
	}
	if location := resp.Header.Get("Location"); location != "" {
		if to, err := url.Parse(location); err == nil {
			resp.Header.Set("Location", rewriteURL(to, t))
		}
	}
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if strings.TrimSpace(mediaType) != "text/html" || resp.Header.Get("Content-Encoding") != "" || resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	if resp.Request != nil && resp.Request.Method == http.MethodHead {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHTML+1))
	if err != nil {
		return err
	}
	if len(body) > maxHTML { // too big to hold: pass it on as it is
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(body), resp.Body), resp.Body}
		return nil
	}
	_ = resp.Body.Close()
	body = rewriteHTML(body, t)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	resp.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

// maxHTML bounds what is held in memory for one page.
const maxHTML = 4 << 20

// rewriteURL puts the proxy's path before a link to the backend; links to elsewhere stay.
func rewriteURL(to *url.URL, t Target) string {
	if to.Host != "" && to.Host != t.Address {
		return to.String()
	}
	if to.Host == "" && !strings.HasPrefix(to.Path, "/") {
		return to.String() // relative: right as it is
	}
	if strings.HasPrefix(to.Path, t.Prefix+"/") {
		return to.String()
	}
	slash := strings.HasSuffix(to.Path, "/")
	moved := *to
	moved.Scheme, moved.Host, moved.RawPath = "", "", ""
	moved.Path = path.Join(t.Prefix, to.Path)
	if slash {
		moved.Path += "/"
	}
	return moved.String()
}

// linkAttributes by element, as HTML defines them.
var linkAttributes = map[string][]string{
	"a": {"href"}, "applet": {"codebase"}, "area": {"href"}, "audio": {"src"}, "base": {"href"}, "blockquote": {"cite"},
	"body": {"background"}, "button": {"formaction"}, "command": {"icon"}, "del": {"cite"}, "embed": {"src"}, "form": {"action"},
	"frame": {"longdesc", "src"}, "head": {"profile"}, "html": {"manifest"}, "iframe": {"longdesc", "src"},
	"img": {"longdesc", "src", "usemap"}, "input": {"src", "usemap", "formaction"}, "ins": {"cite"}, "link": {"href"},
	"object": {"classid", "codebase", "data", "usemap"}, "q": {"cite"}, "script": {"src"}, "source": {"src"}, "video": {"poster", "src"},
}

// rewriteHTML copies a page token by token and changes only the attributes that are links.
func rewriteHTML(page []byte, t Target) []byte {
	var out bytes.Buffer
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			return out.Bytes()
		}
		raw := bytes.Clone(z.Raw())
		if kind != html.StartTagToken && kind != html.SelfClosingTagToken {
			out.Write(raw)
			continue
		}
		token, changed := z.Token(), false
		for _, name := range linkAttributes[token.Data] {
			for i := range token.Attr {
				if token.Attr[i].Key != name {
					continue
				}
				to, err := url.Parse(token.Attr[i].Val)
				if err != nil {
					continue
				}
				if link := rewriteURL(to, t); link != token.Attr[i].Val {
					token.Attr[i].Val, changed = link, true
				}
			}
		}
		if changed {
			out.WriteString(token.String())
		} else {
			out.Write(raw)
		}
	}
}
