package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"runtime"
	"slices"
	"time"
)

// imageConfig is the part of an image's config that matters, with what follows from it.
type imageConfig struct {
	id     string
	chains []string

	Architecture string     `json:"architecture"`
	Variant      string     `json:"variant"`
	OS           string     `json:"os"`
	Created      *time.Time `json:"created"`
	Config       struct {
		User         string              `json:"User"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts"`
		Env          []string            `json:"Env"`
		Entrypoint   []string            `json:"Entrypoint"`
		Cmd          []string            `json:"Cmd"`
		Volumes      map[string]struct{} `json:"Volumes"`
		WorkingDir   string              `json:"WorkingDir"`
		Labels       map[string]string   `json:"Labels"`
		StopSignal   string              `json:"StopSignal"`
	} `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// maxLayers is the kernel's limit on lower directories of one overlay (OVL_MAX_STACK), less room for our own.
const maxLayers = 490

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func parseConfig(raw []byte) (*imageConfig, error) {
	c := &imageConfig{}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, corrupt("reading the image config: %w", err)
	}
	if len(c.RootFS.DiffIDs) > maxLayers {
		return nil, corrupt("the image has %d layers, more than %d", len(c.RootFS.DiffIDs), maxLayers)
	}
	c.id = digestOf(raw)
	for i, d := range c.RootFS.DiffIDs {
		if !digestPattern.MatchString(d) {
			return nil, corrupt("bad diff ID %q in the image config", d)
		}
		// OCI image spec: ChainID(L0|…|Ln) = Digest(ChainID(L0|…|Ln-1) + " " + DiffID(Ln))
		chain := d
		if i > 0 {
			chain = digestOf([]byte(c.chains[i-1] + " " + d))
		}
		c.chains = append(c.chains, chain)
	}
	return c, nil
}

// image builds what callers see. The layers must be there.
func (c *imageConfig) image(s *Store) *Image {
	i := &Image{
		ID:         c.id,
		Entrypoint: c.Config.Entrypoint, Cmd: c.Config.Cmd, Env: c.Config.Env,
		WorkingDir: c.Config.WorkingDir, User: c.Config.User, StopSignal: c.Config.StopSignal,
		Volumes:      slices.Sorted(maps.Keys(c.Config.Volumes)),
		ExposedPorts: slices.Sorted(maps.Keys(c.Config.ExposedPorts)),
		Labels:       c.Config.Labels,
	}
	if c.Created != nil {
		i.Created = *c.Created
	}
	for _, chain := range c.chains {
		i.Layers = append(i.Layers, s.layerFS(chain))
		i.Size += s.layerSize(chain)
	}
	return i
}

// platform is what this machine runs.
type platform struct{ OS, Architecture, Variant string }

func hostPlatform() platform {
	p := platform{OS: "linux", Architecture: runtime.GOARCH}
	switch p.Architecture {
	case "arm64":
		p.Variant = "v8"
	case "arm":
		p.Variant = "v7"
	}
	return p
}

// score says how well an image for q runs here; 0 is not at all.
func (p platform) score(q *platform) int {
	if q == nil || (q.OS == "" && q.Architecture == "") {
		return 1 // says nothing; the config will
	}
	if q.OS != p.OS || q.Architecture != p.Architecture {
		return 0
	}
	switch {
	case q.Variant == p.Variant:
		return 9
	case q.Variant == "":
		return 8
	case p.Variant == "" && p.Architecture == "amd64":
		// v2 to v4 need instructions that not every amd64 has.
		if q.Variant == "v1" {
			return 8
		}
		return 0
	case p.Variant == "v7":
		return map[string]int{"v6": 7, "v5": 6}[q.Variant]
	}
	return 0
}

// String as in image indexes.
func (p platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}
