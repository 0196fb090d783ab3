package negotiate

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ header, want string }{
		{"", "*/*"},
		{"application/json", "application/json"},
		{"text/html;q=0.5, application/json", "application/json text/html"},
		{"application/json;as=Table;g=meta.k8s.io;v=v1, */*;q=0.8", "application/json as=Table */*"},
		{"*", "*/*"},
		{"nonsense, application/json;q=0", ""},
	} {
		var got []string
		for _, clause := range Parse(c.header) {
			got = append(got, clause.Type+"/"+clause.Sub)
			if as := clause.Params["as"]; as != "" {
				got = append(got, "as="+as)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: %q, want %q", c.header, got, c.want)
		}
	}
}

// Whatever stands in the headers, the best clause comes first and each admits itself.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "*/*", "application/json;as=Table;g=meta.k8s.io;v=v1,application/json", "a/b;q=0.1,c/d;q=nan,;;;=,\"", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		clauses := Parse(header)
		for i, c := range clauses {
			if i > 0 && c.q > clauses[i-1].q {
				t.Fatalf("%q: clause %d is better than the one before", header, i)
			}
			if c.Type != "*" && c.Sub != "*" && !strings.Contains(c.Sub, "/") && !c.Is(c.Type+"/"+c.Sub) {
				t.Fatalf("%q: %+v does not admit itself", header, c)
			}
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Content-Type"], r.Header["Accept-Encoding"] = []string{header}, []string{header}
		_, _ = ContentType(r), Gzip(r)
	})
}
