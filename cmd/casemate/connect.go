package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"casemate/cmd/casemate/contexts"
	"casemate/vmhost/api"
	"casemate/vmhost/spec"

	"github.com/spf13/cobra"
)

// target has the flags by which a command finds its node.
type target struct {
	config, context string
}

// flags adds them to cmd and the commands below it.
func (t *target) flags(cmd *cobra.Command) {
	t.configFlag(cmd)
	cmd.PersistentFlags().StringVar(&t.context, "context", os.Getenv("CASEMATE_CONTEXT"),
		"the node to speak to (default: $CASEMATE_CONTEXT, or the current context)")
	_ = cmd.RegisterFlagCompletionFunc("context", t.completeContexts)
}

func (t *target) configFlag(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&t.config, "config", "",
		"`file` with the contexts (default: $CASEMATE_CONFIG, or casemate/config.yaml in your configuration directory)")
}

// file reads the contexts, and says from where.
func (t *target) file() (*contexts.File, string, error) {
	path := t.config
	if path == "" {
		var err error
		if path, err = contexts.Path(); err != nil {
			return nil, "", err
		}
	}
	f, err := contexts.Load(path)
	return f, path, err
}

func (t *target) client() (*api.Client, error) {
	f, _, err := t.file()
	if err != nil {
		return nil, err
	}
	c, err := f.Get(t.context)
	if err != nil {
		return nil, err
	}
	return c.Client()
}

// withClient runs do with the node's client and explains what went wrong.
func (t *target) withClient(do func(*api.Client) error) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	return explain(do(c))
}

// explain adds the way out to errors whose cause is on this side.
func explain(err error) error {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &name):
		return fmt.Errorf("%w: add the context with --server-name and one of these", err)
	case errors.As(err, &authority):
		return fmt.Errorf("%w: the node's certificate is not from this context's authority", err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: is the node up, and the context's address right?", err)
	case strings.Contains(err.Error(), "tls: unknown certificate authority"):
		return fmt.Errorf("%w: the node accepts clients of another authority, or of none", err)
	case strings.Contains(err.Error(), "tls: expired certificate"):
		return fmt.Errorf("%w: issue a new one with `casemate pki issue`, and check the node's clock", err)
	}
	return lines(err)
}

// listed is an error with a list of problems, one a line.
type listed struct {
	head  string
	parts []string
}

func (l *listed) Error() string {
	if len(l.parts) == 1 {
		return l.head + ": " + l.parts[0]
	}
	return l.head + ":\n  " + strings.Join(l.parts, "\n  ")
}

// lines gives problems with a document a line each.
func lines(err error) error {
	var p *api.Problem
	if !errors.As(err, &p) || len(p.Errors) == 0 {
		return err
	}
	l := &listed{head: p.Detail}
	for _, e := range p.Errors {
		at := strings.TrimPrefix(strings.TrimPrefix(e.Location, "body"), ".")
		l.parts = append(l.parts, strings.TrimPrefix(at+": "+e.Message, ": "))
	}
	return l
}

// inFile names the file in which a document is wrong.
func inFile(file string, err error) error {
	var problems spec.Problems
	if !errors.As(err, &problems) {
		return fmt.Errorf("%s: %w", file, err)
	}
	l := &listed{head: file}
	for _, p := range problems {
		l.parts = append(l.parts, p.String())
	}
	return l
}

// completeTimeout bounds how long a shell's Tab may hang.
const completeTimeout = 2 * time.Second

// completeVMs offers the node's VMs that are not among the arguments yet.
func (t *target) completeVMs(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	c, err := t.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	vms, err := c.List(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, vm := range vms {
		if !slices.Contains(args, vm.Name) {
			names = append(names, cobra.CompletionWithDesc(vm.Name, string(vm.Status.State)))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeOneVM does so for commands that take one VM.
func (t *target) completeOneVM(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return t.completeVMs(cmd, args, prefix)
}

func (t *target) completeContexts(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	f, _, err := t.file()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, c := range f.Contexts {
		names = append(names, cobra.CompletionWithDesc(c.Name, c.Address))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
