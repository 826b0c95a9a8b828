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
	"syscall"

	"golang.org/x/sys/unix"
)

// roles has what the binary does by its name. Each role has a file of its own
// that adds it, role_NAME.go.
var roles = map[string]func() error{}

// unprivileged roles give up gaining privileges before anything else: no program
// that they might be made to execute can have more than they.
var unprivileged = []string{"gateway"}

// noNewPrivileges sets no_new_privs in all threads. init could not do it for its
// child: SELinux would then refuse the change of domain.
func noNewPrivileges() error {
	if _, _, errno := syscall.AllThreadsSyscall6(syscall.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	return nil
}

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
	if slices.Contains(unprivileged, name) {
		if err := noNewPrivileges(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
