// Package config fills a command's flags from its configuration files, the environment and the command line, in this
// order, the last one winning. A file holds flags as keys:
//
//	node-label: [disk=ssd, zone=a]
//	server: https://10.0.0.1:6443
//
// Beside config.yaml the files of the folder config.yaml.d are read, in the order of their names, each over the ones before. A key with a plus adds to a
// list instead of replacing it:
//
//	node-label+: [rack=7]
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"
)

// EnvPrefix begins the environment variable of every flag: SKIFF_DATA_DIR is --data-dir.
const EnvPrefix = "SKIFF_"

// FileFlag names the configuration file. DirFlag, if a command has it, names the folder that the file is in by default.
const (
	FileFlag = "config"
	DirFlag  = "config-dir"
)

// Parse fills flags. The file is the one named by --config or SKIFF_CONFIG, else defaultFile, or its name in the folder that --config-dir names, which may be missing. A key that
// is no flag of this command is an error, unless it is in ignore (flags of the other command that shares the file).
func Parse(flags *pflag.FlagSet, args []string, defaultFile string, ignore []string) error {
	file := flags.String(FileFlag, defaultFile, "configuration file: flags as keys, in YAML")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	given := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	named := choose(flags, file, given)
	values, err := readFiles(*file, named)
	if err != nil {
		return err
	}
	for key, list := range values {
		if flags.Lookup(key) == nil {
			if slices.Contains(ignore, key) {
				continue
			}
			return fmt.Errorf("%s: unknown key %q", list.file, key)
		}
		if given[key] {
			continue
		}
		if err := set(flags, key, list.values); err != nil {
			return fmt.Errorf("%s: %w", list.file, err)
		}
	}
	return fromEnvironment(flags, given)
}

// choose settles which file is read, and tells whether somebody named it, so that it must be there.
func choose(flags *pflag.FlagSet, file *string, given map[string]bool) (named bool) {
	if given[FileFlag] {
		return true
	}
	if env, ok := os.LookupEnv(EnvPrefix + "CONFIG"); ok {
		*file, given[FileFlag] = env, true
		return true
	}
	dir := flags.Lookup(DirFlag)
	if dir == nil {
		return false
	}
	env, ok := os.LookupEnv(envName(DirFlag))
	switch {
	case given[DirFlag]:
		*file = filepath.Join(dir.Value.String(), filepath.Base(*file))
	case ok:
		*file = filepath.Join(env, filepath.Base(*file))
	}
	return false
}

func envName(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func fromEnvironment(flags *pflag.FlagSet, given map[string]bool) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		value, ok := os.LookupEnv(name)
		if !ok || given[f.Name] || err != nil {
			return
		}
		if e := flags.Set(f.Name, value); e != nil {
			err = fmt.Errorf("environment variable %s: %w", name, e)
		}
	})
	return err
}

// ParseNode fills the flags of a command that looks after the node of a daemon: node are the flags that it shares with the daemon
// and so takes from the daemon's configuration file and environment too, where other keys may stand; flags are its own.
func ParseNode(node, flags *pflag.FlagSet, args []string, defaultFile string) error {
	file := node.String(FileFlag, defaultFile, "configuration file of the node")
	flags.AddFlagSet(node)
	if err := flags.Parse(args); err != nil {
		return err
	}
	given := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = true })
	values, err := readFiles(*file, choose(flags, file, given))
	if err != nil {
		return err
	}
	for key, list := range values {
		if node.Lookup(key) == nil || given[key] {
			continue
		}
		if err := set(node, key, list.values); err != nil {
			return fmt.Errorf("%s: %w", list.file, err)
		}
	}
	return fromEnvironment(node, given)
}

// set gives a flag the values of a file, replacing its default.
func set(flags *pflag.FlagSet, key string, values []string) error {
	f := flags.Lookup(key)
	if list, ok := f.Value.(pflag.SliceValue); ok {
		f.Changed = true
		return wrap(key, list.Replace(values))
	}
	if len(values) != 1 {
		return fmt.Errorf("key %q takes one value, not a list", key)
	}
	return wrap(key, flags.Set(key, values[0]))
}

func wrap(key string, err error) error {
	if err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	return nil
}

// entry is what the files say of a key, and the last file that said something.
type entry struct {
	file   string
	values []string
}

// readFiles reads a file and those of its folder.
func readFiles(file string, mustExist bool) (map[string]entry, error) {
	if file == "" {
		return nil, nil
	}
	more, err := os.ReadDir(file + ".d") // sorted by name
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	files := []string{file}
	for _, e := range more {
		if ext := filepath.Ext(e.Name()); (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, filepath.Join(file+".d", e.Name()))
		}
	}
	out := map[string]entry{}
	for i, name := range files {
		values, err := readFile(name, mustExist || i > 0)
		if err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(values)) { // "key" comes before "key+"
			base, add := strings.CutSuffix(key, "+")
			e := entry{file: name}
			if add {
				e.values = out[base].values
			}
			e.values = append(slices.Clone(e.values), values[key]...)
			out[base] = e
		}
	}
	return out, nil
}

func readFile(file string, mustExist bool) (map[string][]string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && !mustExist {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	var raw map[string]any
	if err := yaml.UnmarshalStrict(data, &raw); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	values := map[string][]string{}
	for key, value := range raw {
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		for _, item := range list {
			switch item := item.(type) {
			case string, bool, float64, int64:
				values[key] = append(values[key], fmt.Sprint(item))
			default:
				return nil, fmt.Errorf("%s: key %q: expected a string, a number, true or false, or a list of these", file, key)
			}
		}
	}
	return values, nil
}
