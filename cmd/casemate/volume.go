package main

import (
	"fmt"
	"io"

	"casemate/vmhost/api"
	"casemate/vmhost/spec"

	"github.com/spf13/cobra"
)

func init() { register(newVolumeCommand) }

func newVolumeCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{Use: "volume", Short: "Manage volumes of virtual machines", Args: cobra.NoArgs, RunE: help}
	t.flags(cmd)
	cmd.AddCommand(newVolumeCreateCommand(t))
	return cmd
}

func newVolumeCreateCommand(t *target) *cobra.Command {
	var out output
	var size, format string
	cmd := &cobra.Command{
		Use:     "create nfs://HOST[:PORT]/EXPORT/DIR/FILE --size SIZE",
		Short:   "Make an empty volume",
		Long:    "Make an empty volume on an NFS server, as the node reaches it. An existing file is\nnever overwritten. Give each machine a directory of its own: a node lets only one\nhold a directory.",
		Example: "  casemate volume create nfs://filer/exports/web-1/root.qcow2 --size 10GiB",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			bytes, err := spec.ParseSize(size)
			if err != nil {
				return fmt.Errorf("--size: %w", err)
			}
			req := api.VolumeRequest{Volume: args[0], Size: bytes, Format: format}
			req.SetDefaults()
			if err := req.Validate(); err != nil {
				return err
			}
			return t.withClient(func(c *api.Client) error {
				v, err := c.CreateVolume(cmd.Context(), req)
				if err != nil {
					return err
				}
				return out.print(cmd.OutOrStdout(), v, func(w io.Writer) { row(w, v.Volume, v.Format, v.Size) })
			})
		},
	}
	cmd.Flags().StringVar(&size, "size", "", "`size` as the guest sees it, such as 10GiB")
	cmd.Flags().StringVar(&format, "format", "", "qcow2 or raw (default: by the file's suffix, else qcow2)")
	_ = cmd.MarkFlagRequired("size")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]cobra.Completion{spec.FormatQcow2, spec.FormatRaw}, cobra.ShellCompDirectiveNoFileComp))
	out.flags(cmd, "table", "json", "yaml")
	return cmd
}
