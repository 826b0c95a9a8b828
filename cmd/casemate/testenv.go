package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"casemate/image"
)

func init() { register(newTestEnvCommand) }

// newTestEnvCommand is for the Makefile: unit tests of packages that may not
// import image find the real secilc and QEMU by these variables. A command is
// its words with tabs between them: the cache's path may have blanks.
func newTestEnvCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test-env OUT", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Print the environment that all tests run in, as the arguments of env(1)",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			trees, err := image.Trees(ctx, "node", "tools", "trial") // all that tests want, fetched now
			if err != nil {
				return err
			}
			out, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			secilc := trees["tools"].Command(ctx, "secilc").Args
			qemu := trees["node"].Command(ctx, "qemu-system-x86_64").Args
			for _, v := range [][2]string{
				{"CASEMATE_OUT", out},
				{"CASEMATE_SECILC", strings.Join(secilc, "\t")},
				{"CASEMATE_QEMU", strings.Join(qemu, "\t")},
				{"CASEMATE_TEST_TREE", trees["node"].Root},
			} {
				fmt.Fprintf(cmd.OutOrStdout(), "%s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
			}
			return nil
		},
	}
}
