package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"casemate/qemu-tests/lab"
	"casemate/vmhost/api"

	"github.com/spf13/cobra"
)

func init() { register(newDemoCommand) }

func newDemoCommand() *cobra.Command {
	var t trial
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show two guests that cannot reach each other",
		Long: `Boot the built image over PXE in an emulated machine, start two guests, let
one reach for the other's disk, show how the kernel denies it, and power off. The
exit status is 0 only if everything went as it must.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t.w = cmd.OutOrStdout()
			return t.demo(cmd.Context())
		},
	}
	t.flags(cmd)
	return cmd
}

func (t *trial) demo(ctx context.Context) error {
	n, err := t.boot(ctx)
	if err != nil {
		return err
	}
	defer n.Site.Close()
	defer n.Stop()
	err = t.show(ctx, n)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w\n%s", err, n.Report())
	}
	return errors.Join(err, t.powerOff(n))
}

// show is the demonstration itself. What it claims it has checked.
func (t *trial) show(ctx context.Context, n *lab.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()

	t.say("two guests, each with a new NFS volume in a directory of its own")
	vms := map[string]*lab.VM{}
	for _, name := range []string{"a", "b"} {
		vm, err := n.StartVM(ctx, name)
		if err != nil {
			return err
		}
		vms[name] = vm
		t.say("guest %s: QEMU runs, pid %d, uid %d", name, vm.Status.PID, vm.Status.UID)
	}
	for _, name := range []string{"a", "b"} {
		line, err := vms[name].WaitReady(ctx)
		if err != nil {
			return err
		}
		t.say("| %s", line)
	}
	a, b := vms["a"], vms["b"]
	w := tabwriter.NewWriter(t.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nVM\tPROCESS\tDISK")
	for _, vm := range []*lab.VM{a, b} {
		fmt.Fprintf(w, "%s\t%s\t%s\n", vm.Name, vm.Status.Label, vm.Status.ImageLabel)
	}
	fmt.Fprintln(w)
	w.Flush()
	if a.Status.Label == b.Status.Label || a.Status.ImageLabel == b.Status.ImageLabel {
		return errors.New("the guests have the same label")
	}

	t.say("guest a has broken out: it rules its QEMU, and somebody hands that its own disk (control)")
	own, err := t.probe(ctx, n, "a", "a")
	if err != nil {
		return err
	}
	if !own.Accepted {
		return fmt.Errorf("a's QEMU could not use a's own disk, so that the rest would prove nothing: %s", own.Answer)
	}
	t.say("now b's disk")
	other, err := t.probe(ctx, n, "a", "b")
	if err != nil {
		return err
	}
	if other.Accepted {
		return errors.New("a's QEMU took b's disk: the guests are not isolated")
	}
	wait, cancelWait := context.WithTimeout(ctx, 20*time.Second)
	defer cancelWait()
	record, err := n.WaitDenial(wait, lab.Denial{Source: a.Status.Label, Target: b.Status.ImageLabel, Class: "file"})
	if err != nil {
		return fmt.Errorf("a's QEMU did not get b's disk, but not because of the policy: %w", err)
	}
	t.say("the kernel denied it:\n\n    %s\n", record)
	return nil
}

// probe hands a QEMU a disk and says what came of it.
func (t *trial) probe(ctx context.Context, n *lab.Node, to, of string) (api.Probe, error) {
	p, err := n.Admin.Probe(ctx, to, api.ProbeRequest{DiskOf: of})
	if err != nil {
		return p, fmt.Errorf("hand %s's disk to %s: %w", of, to, err)
	}
	verdict := "dropped by the kernel"
	if p.Accepted {
		verdict = "accepted"
	}
	t.say("disk of %s (%s) -> QEMU of %s (%s): %s; QEMU says: %s", of, p.Object, to, p.Label, verdict, p.Answer)
	return p, nil
}
