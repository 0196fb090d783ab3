// Package config fills a command's flags from its configuration file, the environment and the command line, in this
// order, the last one winning. A file holds flags as keys:
//
//	node-label: [disk=ssd, zone=a]
//	server: https://10.0.0.1:6443
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// EnvPrefix begins the environment variable of every flag: SKIFF_DATA_DIR is --data-dir.
const EnvPrefix = "SKIFF_"

// FileFlag names the configuration file.
const FileFlag = "config"

// Parse fills flags. The file is the one named by --config or SKIFF_CONFIG, else defaultFile, which may be missing. A key that
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

	if !given[FileFlag] {
		if env, ok := os.LookupEnv(EnvPrefix + "CONFIG"); ok {
			*file, given[FileFlag] = env, true
		}
	}
	values, err := readFile(*file, given[FileFlag])
	if err != nil {
		return err
	}
	for key, list := range values {
		if flags.Lookup(key) == nil {
			if slices.Contains(ignore, key) {
				continue
			}
			return fmt.Errorf("%s: unknown key %q", *file, key)
		}
		if given[key] {
			continue
		}
		if err := set(flags, key, list); err != nil {
			return fmt.Errorf("%s: %w", *file, err)
		}
	}
	return fromEnvironment(flags, given)
}

func fromEnvironment(flags *pflag.FlagSet, given map[string]bool) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		name := EnvPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
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
	values, err := readFile(*file, given[FileFlag])
	if err != nil {
		return err
	}
	for key, list := range values {
		if node.Lookup(key) == nil || given[key] {
			continue
		}
		if err := set(node, key, list); err != nil {
			return fmt.Errorf("%s: %w", *file, err)
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

func readFile(file string, mustExist bool) (map[string][]string, error) {
	if file == "" {
		return nil, nil
	}
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
