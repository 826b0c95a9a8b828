package main

import (
	"fmt"
	"path/filepath"
	"time"

	"casemate/cmd/casemate/pki"
	"casemate/vmhost/api"

	"github.com/spf13/cobra"
)

func init() { register(newPKICommand) }

func newPKICommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pki",
		Short: "Make the certificates of nodes and their clients",
		Long: `Make the certificates with which nodes and their clients know each other. A PKI is
a folder; keep its ca.key where only you can read it.`,
		Args: cobra.NoArgs, RunE: help,
	}
	cmd.AddCommand(newPKIInitCommand(), newPKIIssueCommand())
	return cmd
}

func newPKIInitCommand() *cobra.Command {
	var node string
	var hosts []string
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Make an authority, a node's certificate and an admin's",
		Long: `Make an authority (ca), a certificate for nodes (node) and one for an admin
(admin) in DIR, and DIR/casemate.yaml, a node configuration that has what the
node needs of them. Nothing is overwritten.`,
		Example: `  casemate pki init pki --node node-1 --host 192.0.2.10
  casemate build --config pki/casemate.yaml
  casemate context add lab --address 192.0.2.10 --server-name node-1 --pki pki`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := pki.Init(args[0], time.Now(), node, hosts); err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "authority    %s\n", filepath.Join(args[0], "ca.crt"))
			fmt.Fprintf(w, "node         %s (give this to the node)\n", filepath.Join(args[0], pki.NodeDocument))
			fmt.Fprintf(w, "admin        %s\n", filepath.Join(args[0], "admin.crt"))
			return nil
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "the node's `name`, which is in its certificate (default casemate)")
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "another `name or address` under which the node is reached; may be repeated")
	return cmd
}

func newPKIIssueCommand() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:     "issue DIR NAME --role ROLE",
		Short:   "Make a client's certificate",
		Long:    "Make DIR/NAME.crt and DIR/NAME.key. The name stands in the node's log; the role says what\nthe client may do: a viewer reads, an operator has VMs and volumes, an admin has the node too.",
		Example: "  casemate pki issue pki alice --role operator",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := pki.Issue(args[0], time.Now(), args[1], api.Role(role)); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%-12s %s\n", role, filepath.Join(args[0], args[1]+".crt"))
			return nil
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "viewer, operator or admin")
	_ = cmd.MarkFlagRequired("role")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(
		[]cobra.Completion{string(api.Viewer), string(api.Operator), string(api.Admin)}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
