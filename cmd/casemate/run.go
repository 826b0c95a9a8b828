package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"casemate/cmd/casemate/contexts"
	"casemate/cmd/casemate/pki"
	"casemate/qemu-tests/lab"
	"casemate/vmhost/api"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

func init() { register(newRunCommand) }

// trial is a node in QEMU, for `casemate run` and `casemate demo`.
type trial struct {
	out, state string
	console    bool
	w          io.Writer
	start      time.Time
}

func newRunCommand() *cobra.Command {
	var t trial
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Boot the built image in QEMU, to try it",
		Long: `Boot the built image over PXE in an emulated machine, with an NFS server and
the API on the loopback, and keep it running until Ctrl-C. It needs no root and
no KVM: the emulated CPU has virtualization of its own, slow but real.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t.w = cmd.OutOrStdout()
			return t.run(cmd.Context())
		},
	}
	t.flags(cmd)
	return cmd
}

func (t *trial) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.out, "out", "out", "output `directory` of the build")
	cmd.Flags().StringVar(&t.state, "state", "", "`directory` for certificates and context (default: run in --out)")
	cmd.Flags().BoolVar(&t.console, "console", false, "show the node's whole console")
}

// run boots, says what to type, and waits for Ctrl-C.
func (t *trial) run(ctx context.Context) error {
	n, err := t.boot(ctx)
	if err != nil {
		return err
	}
	defer n.Site.Close()
	defer n.Stop()
	if err := t.tour(n); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-n.Done():
		t.say("the node is off")
		return n.Wait(ctx)
	}
	return t.powerOff(n)
}

// boot opens the site, starts the machine and waits until the node is ready. Of
// the console it shows the node's own lines, or all.
func (t *trial) boot(ctx context.Context) (*lab.Node, error) {
	t.start = time.Now()
	if t.state == "" {
		t.state = filepath.Join(t.out, "run")
	}
	for _, name := range []string{"pxe/vmlinuz", "pxe/initramfs.img", "pxe/boot.ipxe"} {
		if _, err := os.Stat(filepath.Join(t.out, name)); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is not there: run `make image` first, or name its output with --out", filepath.Join(t.out, name))
		}
	}
	t.say("getting the NFS server, the guest and the certificates ready in %s", t.state)
	// Absolute: QEMU and its own -L paths must not depend on where we are.
	out, err := filepath.Abs(t.out)
	if err != nil {
		return nil, err
	}
	state, err := filepath.Abs(t.state)
	if err != nil {
		return nil, err
	}
	tools, err := lab.OpenTools(ctx)
	if err != nil {
		return nil, err
	}
	site, err := lab.OpenSite(ctx, tools, out, state)
	if err != nil {
		return nil, err
	}
	n, err := t.bootAt(ctx, site)
	if err != nil {
		site.Close()
		return nil, err
	}
	return n, nil
}

// nodeLine is a console line that tells how far the node is.
var nodeLine = regexp.MustCompile(`^(\[[ 0-9.]+\] )?(casemate|stage0|init): `)

func (t *trial) bootAt(ctx context.Context, site *lab.Site) (*lab.Node, error) {
	cfg, err := site.Machine()
	if err != nil {
		return nil, err
	}
	cfg.OnLine = func(l lab.Line) {
		if t.console || nodeLine.MatchString(l.Text) {
			t.say("| %s", l.Text)
		}
	}
	t.say("booting by PXE: firmware, iPXE, TFTP")
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	n, err := site.Boot(ctx, cfg)
	if err != nil {
		return nil, err
	}
	t.say("ready; kernel to ready in %.1f s", n.Ready.Uptime)
	return n, nil
}

// powerOff asks the node to power off and waits.
func (t *trial) powerOff(n *lab.Node) error {
	signal.Reset(os.Interrupt) // a second Ctrl-C ends us at once, and with us QEMU
	t.say("powering the node off")
	// Not the command's context: that is over after Ctrl-C.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ask, cancelAsk := context.WithTimeout(ctx, 10*time.Second)
	defer cancelAsk()
	if err := n.Admin.Power(ask, api.PowerOff); err != nil {
		t.say("the API does not: %v; pressing the power button", err)
		if err := n.PowerButton(); err != nil {
			return err
		}
	}
	if err := n.Wait(ctx); err != nil {
		return fmt.Errorf("%w\n%s", err, n.Report())
	}
	t.say("the node is off")
	return nil
}

// say prints a line with the time since the start.
func (t *trial) say(format string, args ...any) {
	fmt.Fprintf(t.w, "[%6.1fs] %s\n", time.Since(t.start).Seconds(), fmt.Sprintf(format, args...))
}

// tour writes the context and a VM document for the guest that came along, and
// prints what to type.
func (t *trial) tour(n *lab.Node) error {
	config, err := writeRunContext(t.state, n)
	if err != nil {
		return err
	}
	volume := n.Site.NFS.URL("a", "demo/root.qcow2")
	// Whole paths: the other terminal may be anywhere.
	doc, err := filepath.Abs(filepath.Join(t.state, "demo.yaml"))
	if err != nil {
		return err
	}
	casemate, err := filepath.Abs(filepath.Join(t.out, "bin", "casemate"))
	if err != nil {
		return err
	}
	if err := writeDocument(doc, n.Site.VM("demo", volume)); err != nil {
		return err
	}
	fmt.Fprintf(t.w, `
The node is yours. In another terminal:

    export CASEMATE_CONFIG=%s
    alias casemate=%s
    casemate node info
    casemate volume create %s --size 1GiB
    casemate vm create -f %s --start
    casemate vm ls
    casemate vm console demo
    casemate node logs

The guest takes lines such as "ip", "write /dev/vda 0 hello", "poweroff".
Ctrl-C here powers the node off.

`, quote(config), quote(casemate), volume, quote(doc))
	return nil
}

// quote makes a word for a shell.
func quote(s string) string {
	if strings.ContainsAny(s, " \t'\"\\$`*?[]{}()<>|&;#~!") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// writeDocument writes a document as YAML.
func writeDocument(file string, doc any) error {
	b, err := yaml.Marshal(doc)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// writeRunContext makes a configuration of its own, with the trial's node in it,
// so that a trial never changes the operator's.
func writeRunContext(state string, n *lab.Node) (string, error) {
	path, err := filepath.Abs(filepath.Join(state, "config.yaml"))
	if err != nil {
		return "", err
	}
	admin := filepath.Join(n.Site.PKI(), pki.AdminName)
	file := &contexts.File{}
	err = file.Add(contexts.Context{
		Name: "run", Address: n.Addr(lab.APIPort),
		CA: filepath.Join(n.Site.PKI(), pki.AuthorityName+".crt"), Certificate: admin + ".crt", Key: admin + ".key",
	})
	if err != nil {
		return "", err
	}
	return path, file.Save(path)
}
