package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"codeberg.org/skiff/skiff/internal/wellknown"
)

// folder is one of a node's, and what its mode allows at most.
type folder struct {
	path string
	mode fs.FileMode
}

// folders of a node, outer ones first. What lies in pods and run/pods is mounted into containers, with the modes that these need; the folder keeps everybody else
// on the host away from it. A folder that everybody may pass (0711) but not list is on the way to a container's root: the processes that set up a container in a
// user namespace pass it as somebody else than root.
func folders(p wellknown.Paths) []folder {
	agent := filepath.Join(p.Data, "agent")
	return []folder{
		{p.Data, 0o711},
		{agent, 0o711},
		{p.Pods(), 0o750},
		{p.Images(), 0o700},
		{p.Snapshots(), 0o711},
		{p.Containers(), 0o711},
		{p.PodManifests(), 0o700},
		{p.Shim(), 0o700},
		{filepath.Join(agent, "objects"), 0o700},
		{filepath.Join(agent, "network"), 0o700},
		{p.Run, 0o711},
		{filepath.Join(p.Run, "pods"), 0o750},
		{p.PodLogs(), 0o750},
		{p.ContainerLogs(), 0o755},
	}
}

// secureFolders makes the folders of a node, and takes from those that are there what their modes should not allow: earlier versions made them readable for
// everybody.
func secureFolders(p wellknown.Paths) error {
	for _, f := range folders(p) {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o711); err != nil {
			return fmt.Errorf("make a folder of the node: %w", err)
		}
		if err := os.Mkdir(f.path, f.mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make a folder of the node: %w", err)
		}
		if err := atMost(f.path, f.mode); err != nil {
			return fmt.Errorf("protect a folder of the node: %w", err)
		}
		if f.path == filepath.Join(p.Data, "agent") { // whoever joined the cluster before made it for root alone
			if err := os.Chmod(f.path, f.mode); err != nil {
				return fmt.Errorf("open a folder of the node: %w", err)
			}
		}
	}
	return nil
}

func atMost(path string, mode fs.FileMode) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if have := st.Mode().Perm(); have&^mode != 0 {
		return os.Chmod(path, have&mode)
	}
	return nil
}
