package oidc

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"k8s.io/apiserver/pkg/authentication/user"
)

// idp is a provider on this machine.
type idp struct {
	*httptest.Server
	key     *rsa.PrivateKey
	kid     string
	down    atomic.Bool
	fetches atomic.Int32
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &idp{key: key, kid: "one"}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.down.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys"})
		case "/keys":
			p.fetches.Add(1)
			b64 := base64.RawURLEncoding.EncodeToString
			_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "one",
				"n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}}})
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *idp) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}))
}

// token has sound claims, changed by those given (nil removes one).
func (p *idp) token(t testing.TB, change map[string]any) string {
	t.Helper()
	body := jwt.MapClaims{"iss": p.URL, "aud": "skiff", "sub": "jane", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	maps.Copy(body, change)
	for name, v := range body {
		if v == nil {
			delete(body, name)
		}
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodRS256, body)
	unsigned.Header["kid"] = p.kid
	token, err := unsigned.SignedString(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func run(t testing.TB, c Config) *Authenticator {
	t.Helper()
	a, err := New(c, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = a.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return a
}

func (a *Authenticator) awaitAll(t testing.TB) {
	t.Helper()
	for range 200 {
		ready := true
		for _, i := range a.issuers {
			ready = ready && i.verifier.Load() != nil
		}
		if ready {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the providers were not reached")
}

func file(t testing.TB, text string) string {
	path := filepath.Join(t.TempDir(), "authn.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func indent(pem string) string {
	return "      " + strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\n      ") + "\n"
}

func find(a *Authenticator, token string) (string, error) {
	u, err := a.Find(context.Background(), token)
	if u == nil {
		return "", err
	}
	return fmt.Sprintf("%s uid=%s groups=%v extra=%v", u.GetName(), u.GetUID(), u.GetGroups(), u.GetExtra()), err
}

func TestFlags(t *testing.T) {
	p := newIDP(t)
	ca := file(t, p.ca())
	a := run(t, Config{Flags: Flags{IssuerURL: p.URL, ClientID: "skiff", CAFile: ca, UsernameClaim: "sub", GroupsClaim: "roles", GroupsPrefix: "idp:",
		RequiredClaims: map[string]string{"hd": "example.org"}}})
	a.awaitAll(t)
	for name, c := range map[string]struct {
		claims map[string]any
		want   string
		err    string
	}{
		"good":            {map[string]any{"hd": "example.org", "roles": []string{"a", "b"}, "jti": "7"}, p.URL + "#jane uid= groups=[idp:a idp:b] extra=map[authentication.kubernetes.io/credential-id:[JTI=7]]", ""},
		"one group":       {map[string]any{"hd": "example.org", "roles": "a", "aud": []string{"x", "skiff"}}, p.URL + "#jane uid= groups=[idp:a] extra=map[]", ""},
		"no groups":       {map[string]any{"hd": "example.org"}, p.URL + "#jane uid= groups=[] extra=map[]", ""},
		"missing claim":   {nil, "", "oidc: required claim hd not present in ID token"},
		"other claim":     {map[string]any{"hd": "x"}, "", "oidc: required claim hd value does not match. Got = x, want = example.org"},
		"other audience":  {map[string]any{"aud": "x"}, "", `oidc: verify token: expected audience in ["skiff"] got ["x"]`},
		"expired":         {map[string]any{"exp": 1}, "", "oidc: verify token: oidc: token is expired"},
		"not yet valid":   {map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}, "", "before the nbf (not before) time"},
		"no user":         {map[string]any{"sub": nil}, "", `oidc: parse username claims "sub"`},
		"another issuer":  {map[string]any{"iss": "https://other"}, "", ""},
		"rubbish in role": {map[string]any{"hd": "example.org", "roles": map[string]any{}}, "", `oidc: parse groups claim "roles"`},
	} {
		got, err := find(a, p.token(t, c.claims))
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q %v, want %q %q", name, got, err, c.want, c.err)
		}
	}
	forged := p.token(t, map[string]any{"hd": "example.org"})
	if got, err := find(a, forged[:len(forged)-8]+"AAAAAAAA"); err == nil {
		t.Errorf("a forged signature: %s", got)
	}
	none := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"iss": p.URL, "aud": "skiff", "sub": "x", "hd": "example.org", "exp": time.Now().Add(time.Hour).Unix()})
	token, _ := none.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if got, err := find(a, token); err == nil {
		t.Errorf("no signature at all: %s", got)
	}
	// Made-up key names do not make the server ask the provider each time.
	before := p.fetches.Load()
	for n := range 50 {
		p.kid = fmt.Sprint("made-up-", n)
		if got, err := find(a, p.token(t, map[string]any{"hd": "example.org"})); err == nil {
			t.Errorf("an unknown key: %s", got)
		}
	}
	if n := p.fetches.Load() - before; n > 3 {
		t.Errorf("%d fetches for 50 unknown keys", n)
	}
}

func TestConfigurationFile(t *testing.T) {
	one, two := newIDP(t), newIDP(t)
	a := run(t, Config{File: file(t, `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: `+one.URL+`
    audiences: [skiff, other]
    audienceMatchPolicy: MatchAny
    certificateAuthority: |
`+indent(one.ca())+`
  claimMappings:
    username: {expression: "'one:' + claims.sub"}
    groups: {expression: "claims.?roles.orValue([])"}
    uid: {expression: "string(claims.number)"}
    extra:
    - {key: example.org/tenant, valueExpression: "claims.tenant"}
  claimValidationRules:
  - {expression: "claims.exp - claims.iat <= 7200", message: "tokens must not live longer than two hours"}
  userValidationRules:
  - {expression: "!user.groups.exists(g, g.startsWith('system:'))", message: "groups of the system are not the provider's to give"}
- issuer:
    url: `+two.URL+`
    audiences: [skiff]
    certificateAuthority: |
`+indent(two.ca())+`
  claimMappings:
    username: {claim: email, prefix: ""}
`)})
	a.awaitAll(t)
	good := map[string]any{"number": 7, "tenant": []string{"t1", "t2"}, "roles": []string{"r"}}
	with := func(key string, v any) map[string]any {
		c := maps.Clone(good)
		c[key] = v
		return c
	}
	for name, c := range map[string]struct {
		p      *idp
		claims map[string]any
		want   string
		err    string
	}{
		"good":           {one, good, "one:jane uid=7 groups=[r] extra=map[example.org/tenant:[t1 t2]]", ""},
		"too long":       {one, with("exp", time.Now().Add(5*time.Hour).Unix()), "", "tokens must not live longer than two hours"},
		"system group":   {one, with("roles", []string{"system:masters"}), "", "groups of the system are not the provider's to give"},
		"no such claim":  {one, map[string]any{"number": 7}, "", "error evaluating extra claim expression"},
		"not verified":   {two, map[string]any{"email": "j@x", "email_verified": false}, "", "oidc: email not verified"},
		"verified":       {two, map[string]any{"email": "j@x", "email_verified": true}, "j@x uid= groups=[] extra=map[]", ""},
		"says nothing":   {two, map[string]any{"email": "j@x"}, "j@x uid= groups=[] extra=map[]", ""},
		"empty username": {two, map[string]any{"email": ""}, "", "is empty"},
	} {
		got, err := find(a, c.p.token(t, c.claims))
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q %v, want %q %q", name, got, err, c.want, c.err)
		}
	}
	// A token of one provider is worth nothing for the other, whose name it bears.
	if got, err := find(a, one.token(t, map[string]any{"iss": two.URL, "email": "j@x"})); err == nil {
		t.Errorf("signed by the wrong provider: %s", got)
	}
}

func TestAProviderThatIsDownBlocksNothing(t *testing.T) {
	p := newIDP(t)
	p.down.Store(true)
	a := run(t, Config{Flags: Flags{IssuerURL: p.URL, ClientID: "skiff", CAFile: file(t, p.ca()), UsernameClaim: "sub", UsernamePrefix: "-"}})
	if got, err := find(a, p.token(t, nil)); err == nil || !strings.Contains(err.Error(), "has not answered yet") {
		t.Errorf("%q %v", got, err)
	}
	p.down.Store(false)
	if err := a.issuers[p.URL].connect(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got, err := find(a, p.token(t, nil)); err != nil || !strings.HasPrefix(got, "jane ") {
		t.Errorf("%q %v", got, err)
	}
}

func TestBadConfigurations(t *testing.T) {
	for name, c := range map[string]Config{
		"no client":         {Flags: Flags{IssuerURL: "https://x", UsernameClaim: "sub"}},
		"http":              {Flags: Flags{IssuerURL: "http://x", ClientID: "c", UsernameClaim: "sub"}},
		"own issuer":        {Flags: Flags{IssuerURL: "https://own", ClientID: "c", UsernameClaim: "sub"}, OwnIssuers: []string{"https://own"}},
		"algorithm":         {Flags: Flags{IssuerURL: "https://x", ClientID: "c", UsernameClaim: "sub", SigningAlgs: []string{"HS256"}}},
		"both":              {File: "x", Flags: Flags{IssuerURL: "https://x"}},
		"no file":           {File: "/does/not/exist"},
		"not CEL":           {File: file(t, "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: \"https://x\", audiences: [a]}\n  claimMappings: {username: {expression: \"claims.(\"}}\n")},
		"unknown field":     {File: file(t, "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwts: []\n")},
		"unverified e-mail": {File: file(t, "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: \"https://x\", audiences: [a]}\n  claimMappings: {username: {expression: claims.email}}\n")},
	} {
		if _, err := New(c, time.Now, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	none, err := New(Config{}, time.Now, slog.New(slog.DiscardHandler))
	if u, findErr := none.Find(context.Background(), "a.b.c"); err != nil || findErr != nil || u != nil {
		t.Errorf("without issuers: %v %v %v", u, err, findErr)
	}
}

func FuzzFind(f *testing.F) {
	p := newIDP(f)
	a := run(f, Config{Flags: Flags{IssuerURL: p.URL, ClientID: "skiff", CAFile: file(f, p.ca()), UsernameClaim: "sub"}})
	a.awaitAll(f)
	good := p.token(f, nil)
	f.Add(good)
	f.Add("a." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+p.URL+`"}`)) + ".c")
	want, _ := a.Find(context.Background(), good)
	f.Fuzz(func(t *testing.T, token string) {
		u, err := a.Find(context.Background(), token)
		if err == nil && u != nil && token != good && !reflect.DeepEqual(u, want) {
			t.Errorf("accepted %q as %v", token, u)
		}
	})
}

func FuzzClaims(f *testing.F) {
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: \"https://x\", audiences: [a]}\n" +
		"  claimMappings: {username: {expression: \"claims.sub\"}, groups: {expression: \"claims.roles\"}, extra: [{key: a.b/c, valueExpression: claims.e}]}\n"
	a, err := New(Config{File: file(f, text)}, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"sub":"x","roles":["a",1,null],"e":{"a":1e400}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := claims{}
		if json.Unmarshal(data, &c) != nil {
			return
		}
		var u user.Info
		if u, err = a.issuers["https://x"].user(context.Background(), c); err == nil && u.GetName() == "" {
			t.Error("a user without a name")
		}
	})
}
