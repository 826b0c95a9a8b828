package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"casemate/vmhost/api"

	"github.com/spf13/cobra"
)

func init() { register(newNodeCommand) }

func newNodeCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{Use: "node", Short: "Look at a node, or power it off", Args: cobra.NoArgs, RunE: help}
	t.flags(cmd)
	cmd.AddCommand(newNodeInfoCommand(t), newNodeLogsCommand(t))
	for action, short := range map[api.PowerAction]string{
		api.PowerOff: "Shut the guests down and power the node off",
		api.Reboot:   "Shut the guests down and reboot the node",
	} {
		cmd.AddCommand(&cobra.Command{
			Use: string(action), Short: short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return t.withClient(func(c *api.Client) error { return c.Power(cmd.Context(), action) })
			},
		})
	}
	return cmd
}

func newNodeInfoCommand(t *target) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "info", Short: "Show what a node is", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			return t.withClient(func(c *api.Client) error {
				caps, err := c.Capabilities(cmd.Context())
				if err != nil {
					return err
				}
				return out.print(cmd.OutOrStdout(), caps, func(w io.Writer) { nodeTable(w, caps) })
			})
		},
	}
	out.flags(cmd, "table", "json", "yaml")
	return cmd
}

func nodeTable(w io.Writer, c api.Capabilities) {
	row(w, "Node:", c.Node)
	row(w, "Version:", c.Version)
	row(w, "Uptime:", time.Duration(c.Uptime*float64(time.Second)).Truncate(time.Second))
	row(w, "CPUs:", c.CPUs)
	row(w, "Memory:", fmt.Sprintf("%.1f GiB", float64(c.Memory)/(1<<30)))
	row(w, "Kernel:", c.Kernel)
	row(w, "QEMU:", c.QEMU)
	row(w, "KVM:", yesNo(c.KVM))
	s := c.Security
	row(w, "Security:", s.Model)
	row(w, "Enforcing:", yesNo(s.Enforcing))
	row(w, "Policy:", fmt.Sprintf("version %d, %s", s.Policy.Version, s.Policy.Digest))
	for _, kind := range slices.Sorted(maps.Keys(s.BaseLabels)) {
		row(w, "Label "+kind+":", s.BaseLabels[kind])
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func newNodeLogsCommand(t *target) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "logs", Short: "Show a node's log", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.withClient(func(c *api.Client) error {
				return c.Logs(cmd.Context(), cmd.OutOrStdout(), follow)
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes, until Ctrl-C")
	return cmd
}
