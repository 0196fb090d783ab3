package registry

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

const (
	continueVersion = "meta.k8s.io/v1"
	// inconsistent as a token's revision continues at whatever is current then.
	inconsistent = -1
)

// position is what a continue token says: go on after a key, in the list as it was at a revision.
//
// On the wire it is unpadded URL-safe base64 of {"v":"meta.k8s.io/v1","rv":N,"start":"<key>\u0000"}, the key being
// relative to what was listed: "name" in a namespace, "namespace/name" in all of them.
type position struct {
	revision int64
	after    string
}

type wirePosition struct {
	Version  string `json:"v"`
	Revision int64  `json:"rv"`
	Start    string `json:"start"`
}

func (p position) encode() string {
	data, err := json.Marshal(wirePosition{continueVersion, p.revision, p.after + "\x00"})
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func decodeContinue(token string) (position, error) {
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return position{}, fmt.Errorf("continue key is not valid: %w", err)
	}
	var w wirePosition
	if err := json.Unmarshal(data, &w); err != nil {
		return position{}, fmt.Errorf("continue key is not valid: %w", err)
	}
	switch {
	case w.Version != continueVersion:
		return position{}, fmt.Errorf("continue key is not valid: server does not recognize this encoded version %s", w.Version)
	case w.Revision == 0 || w.Revision < inconsistent:
		return position{}, errors.New("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
	case w.Start == "":
		return position{}, errors.New("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
	}
	after, ok := strings.CutSuffix(strings.TrimPrefix(w.Start, "/"), "\x00")
	// A key that climbs ("..") must not lead out of what the caller may list.
	if !ok || after == "" || path.Clean("/"+after) != "/"+after {
		return position{}, fmt.Errorf("continue key is not valid: %q", w.Start)
	}
	return position{w.Revision, after}, nil
}
