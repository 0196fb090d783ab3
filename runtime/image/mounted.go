package image

import (
	"os"
	"regexp"
)

// layerInMount is a layer's directory as mountinfo names it: among an overlay's lower directories, or as what is bound.
var layerInMount = regexp.MustCompile(`/layers/([0-9a-f]{64})/fs\b`)

// isMounted says whether all layers of an image are part of mounts, as those of an image volume are: the kernel knows it whatever daemon
// mounted it and whichever runs now. It may say so of an image whose layers are all another's, too, which would free no layer.
func isMounted(chains []string) bool {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || len(chains) == 0 {
		return false
	}
	return allIn(string(raw), chains)
}

func allIn(mountinfo string, chains []string) bool {
	have := map[string]bool{}
	for _, m := range layerInMount.FindAllStringSubmatch(mountinfo, -1) {
		have[m[1]] = true
	}
	for _, c := range chains {
		if !have[hexOf(c)] {
			return false
		}
	}
	return true
}
