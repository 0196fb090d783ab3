// Package cmpopts is empty: only tests of dependencies, which are not run here, ask for it.
package cmpopts
