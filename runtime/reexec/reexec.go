// Package reexec is where the executable, started again, becomes something else than skiff. There are three such starts:
//
//	_SKIFF_KEEPER     a keeper: C code of runtime/keeper, which takes over before the Go runtime starts
//	_SKIFF_CREATE     a creator: makes one container for a keeper, and ends ([Request] is what it is asked)
//	skiff init        libcontainer's own first process in a container
//
// The last two take over in this package's init. It imports only libcontainer and what that needs, so that Go, which
// initialises packages in import-path order once their own imports are ready, comes here before it has initialised the
// rest of a large program: a container start runs two of these processes. Import it (blank) from main; do not import
// anything heavy here. It starts no goroutine and never returns from a takeover.
package reexec

import (
	"os"

	_ "github.com/opencontainers/cgroups/devices" // device rules of cgroups
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // C that joins namespaces before Go starts

	_ "codeberg.org/skiff/skiff/runtime/keeper"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITTYPE") != "" {
		libcontainer.Init()
	}
	if os.Getenv("_SKIFF_CREATE") != "" {
		create()
	}
}
