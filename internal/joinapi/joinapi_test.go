package joinapi

import (
	"errors"
	"strings"
	"testing"
)

func TestToken(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for in, want := range map[string]Token{
		"SK10" + hash + "::node:s3cret":                    {hash, "node", "s3cret"},
		" SK10" + strings.ToUpper(hash) + "::server:a:b\n": {hash, "server", "a:b"},
		"justasecret": {"", "node", "justasecret"},
	} {
		if got, err := ParseToken(in); err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "SK10", "SK10zz::node:x", "SK10" + hash + ":node:x", "SK10" + hash + "::node:", "SK10" + hash + "::x", "a b", "a:b"} {
		if _, err := ParseToken(bad); !errors.Is(err, ErrToken) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzParseToken: what is taken says itself again.
func FuzzParseToken(f *testing.F) {
	f.Add("SK10" + strings.Repeat("ab", 32) + "::node:s3cret")
	f.Add("secret")
	f.Fuzz(func(t *testing.T, in string) {
		tok, err := ParseToken(in)
		if err != nil {
			return
		}
		if again, err := ParseToken(tok.String()); err != nil || again != tok {
			t.Errorf("%q → %+v → %+v, %v", in, tok, again, err)
		}
	})
}
