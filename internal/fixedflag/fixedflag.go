// Package fixedflag knows the flags of upstream's programs that decide nothing here, so that what people bring from other
// clusters is never ignored: they learn what to write instead, or why there is nothing to be said.
package fixedflag

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Group of flags: a few values mean what is so anyway, others are refused.
type Group struct {
	Names  string   // space-separated
	Accept []string // values that change nothing
	Reason string
}

// Add adds, unseen, those flags of program that nobody has added before, so that setting one is an error with a reason.
func Add(f *pflag.FlagSet, program string, groups []Group) {
	for _, group := range groups {
		for name := range strings.FieldsSeq(group.Names) {
			if f.Lookup(name) != nil {
				continue
			}
			flag := f.VarPF(value{program, group}, name, "", group.Reason)
			flag.Hidden = true
			if slices.Contains(group.Accept, "true") || slices.Contains(group.Accept, "false") {
				flag.NoOptDefVal = "true"
			}
		}
	}
}

// value accepts what changes nothing.
type value struct {
	program string
	Group
}

func (value) String() string { return "" }
func (value) Type() string   { return "string" }
func (v value) Set(s string) error {
	if slices.Contains(v.Accept, s) {
		return nil
	}
	return fmt.Errorf("this flag of %s is not there: %s", v.program, v.Reason)
}
