// Command casemate is the operator's tool: it builds images, and manages the
// nodes that boot them and their guests.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"casemate/vmhost/spec"
)

// commands make the subcommands; each file of this package registers its own.
var commands []func() *cobra.Command

func register(newCommand func() *cobra.Command) { commands = append(commands, newCommand) }

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:     "casemate",
		Version: spec.Version,
		Short:   "Build SELinux hypervisor nodes and manage the guests on them",
		Long: `casemate builds a minimal node image that boots into RAM with SELinux enforcing
from its first process, and manages the virtual machines on such nodes, each
confined under a label of its own.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	for _, newCommand := range commands {
		root.AddCommand(newCommand())
	}
	return root
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newRootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "casemate:", err)
		stop()
		os.Exit(1)
	}
}
