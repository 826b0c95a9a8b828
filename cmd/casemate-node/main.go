// casemate-node is the node's one large binary. What it does depends on the
// name that it is called by; the image has a symbolic link for each.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// roles has what the binary does by its name. Each role has a file of its own
// that adds it, role_NAME.go.
var roles = map[string]func() error{}

func main() {
	// After a change of domain Go is in secure mode and would not print the
	// stack of a panic; here it goes to the node's log.
	debug.SetTraceback("all")
	name := filepath.Base(os.Args[0])
	run, ok := roles[name]
	if !ok {
		var names []string
		for n := range roles {
			names = append(names, n)
		}
		slices.Sort(names)
		fmt.Fprintf(os.Stderr, "%s: this program is called as one of: %s\n", name, strings.Join(names, ", "))
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
