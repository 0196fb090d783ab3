// Package language keeps kubectl's translations out of processes that do not need them. Its packages translate their texts as they are
// initialised, for which they read 5 MB of tables: most of what it takes to start skiff, which is kubectl only now and then.
// The import path sorts before kubectl's, so that this package is initialised first (see runtime/reexec).
package language

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/kubectl/pkg/util/i18n"
)

// translated are the languages whose tables differ from the texts in kubectl's code.
var translated = []string{"de", "fr", "it", "ja", "ko", "pt", "zh"}

func init() {
	if !needed(os.Args, os.Getenv) {
		_ = i18n.SetLoadTranslationsFunc(func() error { return nil }) // refused once translations are loaded, and then nothing is lost
	}
}

// needed says whether a process is a kubectl that may speak another language than English.
func needed(args []string, env func(string) string) bool {
	if filepath.Base(args[0]) != "kubectl" && (len(args) < 2 || args[1] != "kubectl") {
		return false
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} { // the first that is set decides
		if locale := env(name); locale != "" {
			language, _, _ := strings.Cut(locale, "_")
			return slices.Contains(translated, language)
		}
	}
	return false
}
