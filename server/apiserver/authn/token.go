package authn

import (
	"context"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
)

// TokenSource knows some bearer tokens.
type TokenSource interface {
	// Token says whose a token is, and for which of the audiences (nil: the API server's own) it is good. A nil user
	// without an error means that the token is not of this source.
	Token(ctx context.Context, token string, audiences []string) (user.Info, []string, error)
}

// Bearers asks several sources in order. It is an Authenticator, and answers TokenReviews.
type Bearers []TokenSource

// Authenticate looks at the bearer token.
func (b Bearers) Authenticate(r *http.Request) (user.Info, error) {
	token := Bearer(r)
	if token == "" {
		return nil, nil
	}
	u, _, err := b.Token(r.Context(), token, nil)
	return u, err
}

// errUnknownToken is what a token gets that no source knows.
var errUnknownToken = errors.New("invalid bearer token")

// Token asks the sources. It returns a user or an error.
func (b Bearers) Token(ctx context.Context, token string, audiences []string) (user.Info, []string, error) {
	var refused []error
	for _, source := range b {
		u, good, err := source.Token(ctx, token, audiences)
		if err != nil {
			refused = append(refused, err)
			continue
		}
		if u != nil {
			return u, good, nil
		}
	}
	if len(refused) == 0 {
		return nil, nil, errUnknownToken
	}
	return nil, nil, errors.Join(refused...)
}

// intersect returns which of the audiences asked for a token has; all it has when none is asked for.
func intersect(has, asked []string) (good []string) {
	if len(asked) == 0 {
		return has
	}
	for _, a := range asked {
		if slices.Contains(has, a) {
			good = append(good, a)
		}
	}
	return good
}

// forServer makes a source of tokens that know nothing of audiences: they are for the API server.
type forServer struct {
	audiences []string
	find      func(ctx context.Context, token string) (user.Info, error)
}

// ForServer makes a source of a func that tells whose a token is (nil: not known). Such tokens are for the API server, whose
// audiences are given, and for nobody else.
func ForServer(audiences []string, find func(ctx context.Context, token string) (user.Info, error)) TokenSource {
	return forServer{audiences, find}
}

func (f forServer) Token(ctx context.Context, token string, asked []string) (user.Info, []string, error) {
	good := intersect(f.audiences, asked)
	if len(asked) > 0 && len(good) == 0 {
		return nil, nil, nil
	}
	u, err := f.find(ctx, token)
	if u == nil || err != nil {
		return nil, nil, err
	}
	return &user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: authenticated(u.GetGroups()), Extra: u.GetExtra()}, good, nil
}

// TokenFile reads a file of static tokens: CSV with token, user, uid and, optionally, a list of groups.
func TokenFile(path string) (func(ctx context.Context, token string) (user.Info, error), error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	defer f.Close()
	known := map[[sha256.Size]byte]*user.DefaultInfo{}
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		line, _ := r.FieldPos(0)
		if len(record) < 3 || strings.TrimSpace(record[0]) == "" || strings.TrimSpace(record[1]) == "" {
			return nil, fmt.Errorf("%s: line %d: expected token,user,uid[,\"group,…\"]", path, line)
		}
		u := &user.DefaultInfo{Name: strings.TrimSpace(record[1]), UID: strings.TrimSpace(record[2])}
		if len(record) >= 4 {
			for g := range strings.SplitSeq(record[3], ",") {
				if g = strings.TrimSpace(g); g != "" {
					u.Groups = append(u.Groups, g)
				}
			}
		}
		known[sha256.Sum256([]byte(strings.TrimSpace(record[0])))] = u
	}
	return func(_ context.Context, token string) (user.Info, error) {
		if u, ok := known[sha256.Sum256([]byte(token))]; ok { // hashed, so the time tells nothing of the tokens
			return u, nil
		}
		return nil, nil
	}, nil
}
