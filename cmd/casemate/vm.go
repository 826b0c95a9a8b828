package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/spec"

	"github.com/spf13/cobra"
)

func init() { register(newVMCommand) }

func newVMCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{Use: "vm", Short: "Manage virtual machines", Args: cobra.NoArgs, RunE: help}
	t.flags(cmd)
	cmd.AddCommand(newVMCreateCommand(t), newVMListCommand(t), newVMInspectCommand(t), newVMConsoleCommand(t), newVMRemoveCommand(t))
	for _, a := range []struct {
		verb, short string
		do          func(*api.Client) func(context.Context, string) (api.VM, error)
	}{
		{"start", "Start virtual machines", func(c *api.Client) func(context.Context, string) (api.VM, error) { return c.Start }},
		{"shutdown", "Ask guests to shut down (ACPI power button)", func(c *api.Client) func(context.Context, string) (api.VM, error) { return c.Shutdown }},
		{"stop", "Stop virtual machines at once, as pulling the plug does", func(c *api.Client) func(context.Context, string) (api.VM, error) { return c.Stop }},
		{"reset", "Press the reset button", func(c *api.Client) func(context.Context, string) (api.VM, error) { return c.Reset }},
		{"pause", "Stop the virtual CPUs", func(c *api.Client) func(context.Context, string) (api.VM, error) { return c.Pause }},
		{"resume", "Let paused virtual machines go on", func(c *api.Client) func(context.Context, string) (api.VM, error) { return c.Resume }},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: a.verb + " NAME...", Short: a.short, Args: cobra.MinimumNArgs(1), ValidArgsFunction: t.completeVMs,
			RunE: func(cmd *cobra.Command, names []string) error {
				return t.withClient(func(c *api.Client) error {
					return each(names, func(name string) error {
						vm, err := a.do(c)(cmd.Context(), name)
						if err == nil {
							fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", name, vm.Status.State)
						}
						return err
					})
				})
			},
		})
	}
	return cmd
}

// help is what a command that only has subcommands does.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// each does something for each name. One that fails does not keep the others
// from their turn.
func each(names []string, do func(string) error) error {
	var errs []error
	for _, name := range names {
		if err := do(name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, lines(err)))
		}
	}
	return errors.Join(errs...)
}

func newVMCreateCommand(t *target) *cobra.Command {
	var file string
	var start bool
	cmd := &cobra.Command{
		Use:   "create -f FILE",
		Short: "Create a virtual machine from a document",
		Long: `Create a virtual machine from a document in YAML or JSON. The document is checked
before it is sent. With --start the machine is started too; if it does not start,
it is not created either.`,
		Example: `  casemate vm create -f web.yaml --start
  casemate vm create -f - <<END
  name: web-1
  memory: 2GiB
  disks: [{volume: nfs://filer/exports/web-1/root.qcow2}]
  END`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			doc, err := readVM(cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			return t.withClient(func(c *api.Client) error {
				create := c.Create
				if start {
					create = c.CreateAndStart
				}
				vm, err := create(cmd.Context(), doc)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", vm.Name, vm.Status.State)
				return nil
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the document; - is standard input")
	cmd.Flags().BoolVar(&start, "start", false, "start the machine too")
	_ = cmd.MarkFlagRequired("file")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json")
	return cmd
}

// readVM reads and checks a document. It gives the document as its author wrote
// it: the defaults are the node's to fill in.
func readVM(stdin io.Reader, file string) (spec.VM, error) {
	data, err := readFile(stdin, file)
	if err != nil {
		return spec.VM{}, err
	}
	doc, err := spec.ParseVM(data)
	if err != nil {
		return doc, inFile(file, err)
	}
	full, _ := spec.ParseVM(data) // its own slices
	full.SetDefaults()
	if err := full.Validate(); err != nil {
		return doc, inFile(file, err)
	}
	return doc, nil
}

func readFile(stdin io.Reader, file string) ([]byte, error) {
	if file != "-" {
		return os.ReadFile(file)
	}
	return io.ReadAll(io.LimitReader(stdin, spec.MaxVMDocument+1))
}

func newVMListCommand(t *target) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List virtual machines", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			return t.withClient(func(c *api.Client) error {
				vms, err := c.List(cmd.Context())
				if err != nil {
					return err
				}
				return out.print(cmd.OutOrStdout(), vms, func(w io.Writer) { vmTable(w, vms, time.Now()) })
			})
		},
	}
	out.flags(cmd, "table", "json", "yaml")
	return cmd
}

func vmTable(w io.Writer, vms []api.VM, now time.Time) {
	row(w, "NAME", "STATE", "CPUS", "MEMORY", "UP", "LEVEL", "LABEL")
	for _, vm := range vms {
		up := ""
		if vm.Status.StartedAt != nil {
			up = max(now.Sub(*vm.Status.StartedAt), 0).Truncate(time.Second).String()
		}
		row(w, vm.Name, vm.Status.State, vm.CPUs, vm.Memory, up, vm.Status.Level, vm.Status.Label)
	}
}

func newVMInspectCommand(t *target) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "inspect NAME", Short: "Show everything about a virtual machine", Args: cobra.ExactArgs(1), ValidArgsFunction: t.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			return t.withClient(func(c *api.Client) error {
				vm, err := c.Get(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return out.print(cmd.OutOrStdout(), vm, nil)
			})
		},
	}
	out.flags(cmd, "yaml", "json")
	return cmd
}

func newVMRemoveCommand(t *target) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "rm NAME...", Aliases: []string{"delete"}, Short: "Forget virtual machines; their volumes stay",
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: t.completeVMs,
		RunE: func(cmd *cobra.Command, names []string) error {
			return t.withClient(func(c *api.Client) error {
				return each(names, func(name string) error { return remove(cmd.Context(), c, name, force) })
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "stop those that run")
	return cmd
}

func remove(ctx context.Context, c *api.Client, name string, force bool) error {
	if force {
		vm, err := c.Get(ctx, name)
		if err != nil {
			return err
		}
		if vm.Status.State != api.Shutoff {
			if _, err := c.Stop(ctx, name); err != nil {
				return err
			}
		}
	}
	return c.Delete(ctx, name)
}
