package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"casemate/vmhost/api"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// escape is Ctrl-], which ends a console as it ends virsh's and telnet's.
const escape = 0x1d

func newVMConsoleCommand(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "console NAME",
		Short: "Attach to a virtual machine's serial console",
		Long: `Attach to a virtual machine's first serial port. In a terminal every key goes to
the guest; Ctrl-] ends the session. Otherwise standard input is copied to the
guest, and its output to standard output, until the machine stops.`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: t.completeOneVM,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.withClient(func(c *api.Client) error {
				conn, err := c.Console(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				defer conn.Close()
				in, _ := cmd.InOrStdin().(*os.File)
				if in == nil || !term.IsTerminal(int(in.Fd())) {
					return attach(cmd.Context(), conn, cmd.InOrStdin(), cmd.OutOrStdout())
				}
				fmt.Fprintf(cmd.ErrOrStderr(), "Console of %s. Ctrl-] ends it.\n", args[0])
				old, err := term.MakeRaw(int(in.Fd()))
				if err != nil {
					return fmt.Errorf("put the terminal into raw mode: %w", err)
				}
				err = attach(cmd.Context(), conn, &untilEscape{r: in}, cmd.OutOrStdout())
				return errors.Join(err, term.Restore(int(in.Fd()), old))
			})
		},
	}
}

// errEscaped ends a console because its user wants so.
var errEscaped = errors.New("escaped")

// attach copies both ways. It ends when the node ends the console, when in
// yields errEscaped, or with ctx; the end of in alone does not end it, since an
// answer may be on its way.
func attach(ctx context.Context, conn io.ReadWriteCloser, in io.Reader, out io.Writer) error {
	done := make(chan error, 2)
	go func() {
		_, err := io.Copy(out, conn)
		done <- err
	}()
	go func() {
		if _, err := io.Copy(conn, in); err != nil {
			done <- err
		}
	}()
	select {
	case err := <-done:
		if errors.Is(err, errEscaped) {
			return nil
		}
		return err
	case <-ctx.Done():
		return nil
	}
}

// untilEscape passes on what comes before the first escape.
type untilEscape struct {
	r     io.Reader
	ended bool
}

func (u *untilEscape) Read(b []byte) (int, error) {
	if u.ended {
		return 0, errEscaped
	}
	n, err := u.r.Read(b)
	if i := bytes.IndexByte(b[:n], escape); i >= 0 {
		u.ended = true
		if i == 0 {
			return 0, errEscaped
		}
		return i, nil
	}
	return n, err
}
