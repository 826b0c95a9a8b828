package main

import (
	"io"
	"path/filepath"

	"casemate/cmd/casemate/contexts"
	"casemate/cmd/casemate/pki"

	"github.com/spf13/cobra"
)

func init() { register(newContextCommand) }

func newContextCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Keep the nodes that you speak to, and who you are there",
		Long: `A context is a node's address with the certificate to use there. The commands vm,
node and volume use the current one, or that of --context or $CASEMATE_CONTEXT.`,
		Args: cobra.NoArgs, RunE: help,
	}
	t.configFlag(cmd)
	cmd.AddCommand(newContextAddCommand(t), newContextListCommand(t))
	cmd.AddCommand(&cobra.Command{
		Use: "use NAME", Short: "Make a context the current one", Args: cobra.ExactArgs(1), ValidArgsFunction: t.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return t.change(func(f *contexts.File) error { return f.Use(args[0]) })
		},
	}, &cobra.Command{
		Use: "rm NAME", Aliases: []string{"delete"}, Short: "Forget a context; its keys stay", Args: cobra.ExactArgs(1), ValidArgsFunction: t.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			return t.change(func(f *contexts.File) error { return f.Remove(args[0]) })
		},
	})
	return cmd
}

// change reads the file, changes it and writes it.
func (t *target) change(do func(*contexts.File) error) error {
	f, path, err := t.file()
	if err != nil {
		return err
	}
	if err := do(f); err != nil {
		return err
	}
	return f.Save(path)
}

func newContextAddCommand(t *target) *cobra.Command {
	var c contexts.Context
	var folder, user string
	var use bool
	cmd := &cobra.Command{
		Use:   "add NAME --address HOST[:PORT] --pki DIR",
		Short: "Add a context, or replace one",
		Example: `  casemate context add lab --address 192.0.2.10 --server-name node-1 --pki pki
  casemate context add lab-alice --address 192.0.2.10 --server-name node-1 --pki pki --user alice`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(_ *cobra.Command, args []string) error {
			c.Name = args[0]
			if folder != "" {
				for field, name := range map[*string]string{&c.CA: pki.AuthorityName + ".crt", &c.Certificate: user + ".crt", &c.Key: user + ".key"} {
					if *field == "" {
						*field = filepath.Join(folder, name)
					}
				}
			}
			return t.change(func(f *contexts.File) error {
				if err := f.Add(c); err != nil || !use {
					return err
				}
				return f.Use(c.Name)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.Address, "address", "", "`host[:port]` of the node's API (port 8443 unless given)")
	flags.StringVar(&c.ServerName, "server-name", "", "the `name` in the node's certificate, if it is not the host")
	flags.StringVar(&folder, "pki", "", "`folder` of `casemate pki init`, for what is not given by the next four")
	flags.StringVar(&user, "user", pki.AdminName, "`name` of the client's certificate in that folder")
	flags.StringVar(&c.CA, "ca", "", "`file` with the node's authority")
	flags.StringVar(&c.Certificate, "cert", "", "`file` with the client's certificate")
	flags.StringVar(&c.Key, "key", "", "`file` with its key")
	flags.BoolVar(&use, "use", false, "make it the current one")
	_ = cmd.MarkFlagRequired("address")
	_ = cmd.MarkFlagDirname("pki")
	return cmd
}

func newContextListCommand(t *target) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List contexts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			f, _, err := t.file()
			if err != nil {
				return err
			}
			return out.print(cmd.OutOrStdout(), f, func(w io.Writer) {
				row(w, "CURRENT", "NAME", "ADDRESS", "SERVER NAME", "CERTIFICATE")
				for _, c := range f.Contexts {
					current := ""
					if c.Name == f.Current {
						current = "*"
					}
					row(w, current, c.Name, c.Address, c.ServerName, c.Certificate)
				}
			})
		},
	}
	out.flags(cmd, "table", "json", "yaml")
	return cmd
}
