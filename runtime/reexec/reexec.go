// Package reexec is where an executable of skiff, started again, becomes something else. There are four such starts:
//
//	_SKIFF_KEEPER     a keeper: C code of runtime/keeper, which takes over before the Go runtime starts
//	_SKIFF_CREATE     a creator: makes one container for a keeper, and ends ([Request] is what it is asked)
//	_SKIFF_EXEC       an executor: runs one more process in a container, and ends with it
//	skiff init        libcontainer's own first process in a container
//
// The last three take over in this package's init. It imports only libcontainer and what that needs. That makes the shim
// (runtime/shim), an executable of nothing else, small and quick to start: a container start runs two of these processes. In skiff
// itself, which is its own shim when it was built without one, Go initialises packages in import-path order once their own
// imports are ready, and so comes here before it has initialised most of a large program. Import it (blank) from main; do
// not import anything heavy here. It never returns from a takeover.
package reexec

import (
	"os"

	_ "github.com/opencontainers/cgroups/devices" // device rules of cgroups
	"github.com/opencontainers/runc/libcontainer"
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // C that joins namespaces before Go starts

	_ "codeberg.org/skiff/skiff/runtime/keeper"
)

func init() {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITTYPE") != "":
		libcontainer.Init()
	case os.Getenv("_SKIFF_CREATE") != "":
		create()
	case os.Getenv("_SKIFF_EXEC") != "":
		execute()
	}
}
