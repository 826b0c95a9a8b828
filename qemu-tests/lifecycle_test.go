package qemutests

import (
	"context"
	"io"
	"testing"
	"time"

	"casemate/policy"
	"casemate/qemu-tests/lab"
	"casemate/vmhost/api"
	"casemate/vmhost/spec"
)

// The verbs of a VM's life, on one guest of its own.
func TestLifecycle(t *testing.T) {
	n := booted(t)
	ctx, cancel := context.WithTimeout(t.Context(), guestTime)
	defer cancel()
	const name = "life"
	volume := n.Site.NFS.URL("a", "life/root.raw")
	if _, err := n.Admin.CreateVolume(ctx, api.VolumeRequest{Volume: volume, Size: spec.Size(1 << 20), Format: "raw"}); err != nil {
		t.Fatal(err)
	}
	doc := n.Site.VM(name, volume)
	// A read-only volume, too: whatever is in it, here a kernel.
	media := doc.Kernel.Image
	doc.Disks = append(doc.Disks, spec.Disk{Volume: media, Access: "readonly", Format: "raw", Device: "disk"})
	if vm, err := n.Admin.Create(ctx, doc); err != nil || vm.Status.State != api.Shutoff {
		t.Fatalf("Create() = %v, %v; want shutoff", vm.Status.State, err)
	}
	level := ""
	step := func(verb string, do func(context.Context, string) (api.VM, error), want api.State) {
		t.Helper()
		vm, err := do(ctx, name)
		if err != nil || vm.Status.State != want {
			t.Fatalf("%s = %v, %v; want %s", verb, vm.Status.State, err, want)
		}
		if level == "" {
			level = vm.Status.Level
		}
		if vm.Status.Level != level {
			t.Errorf("%s: level %s; want %s, the VM's own as long as it is defined", verb, vm.Status.Level, level)
		}
	}
	step("start", n.Admin.Start, api.Running)
	rw, err := n.Admin.Console(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	console := lab.NewConsole("guest "+name, rw, nil)
	ready := func() {
		t.Helper()
		if _, err := console.Expect(ctx, `^guest life ready`); err != nil {
			t.Fatal(err)
		}
	}
	ready()
	checkReadOnly(ctx, t, console, rw)
	step("pause", n.Admin.Pause, api.Paused)
	step("resume", n.Admin.Resume, api.Running)
	step("reset", n.Admin.Reset, api.Running)
	ready() // again
	// ACPI: the guest powers itself off, in its own time.
	if _, err := n.Admin.Shutdown(ctx, name); err != nil {
		t.Fatal(err)
	}
	for {
		vm, err := n.Admin.Get(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if vm.Status.State == api.Shutoff {
			break
		}
		select { // the API has no event for this yet
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("guest %s is %s; want it shut off by its power button", name, vm.Status.State)
		}
	}
	step("start again", n.Admin.Start, api.Running)
	step("stop", n.Admin.Stop, api.Shutoff)
	if err := n.Admin.Delete(ctx, name); err != nil {
		t.Error(err)
	}
	if _, err := n.Admin.Get(ctx, name); err == nil {
		t.Error("the deleted VM is still there")
	}
}

// checkReadOnly has the guest read from its read-only disk, and fail to write.
func checkReadOnly(ctx context.Context, t *testing.T, console *lab.Console, in io.Writer) {
	t.Helper()
	for _, c := range []struct{ line, want string }{
		// A Linux kernel for the PC has this at 514 (Documentation/arch/x86/boot.rst).
		{"read /dev/vdb 514 4", `^guest life read ok "HdrS"`},
		{"write /dev/vdb 0 mine", `^guest life write error`},
		{"write /dev/vda 0 mine", `^guest life write ok`}, // control: the other disk takes it
	} {
		if _, err := io.WriteString(in, c.line+"\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := console.Expect(ctx, c.want); err != nil {
			t.Errorf("%s: %v", c.line, err)
		}
	}
}

// Without KVM, and only when the document says so, QEMU runs in the domain that
// may make code; the firmware's greeting shows that it did.
func TestTCG(t *testing.T) {
	n := booted(t)
	ctx, cancel := context.WithTimeout(t.Context(), guestTime)
	defer cancel()
	const name = "emulated"
	vm, err := n.Admin.CreateAndStart(ctx, spec.VM{Name: name, Memory: 64 << 20, Accelerator: spec.AcceleratorTCG})
	if err != nil {
		t.Fatal(err)
	}
	if want := policy.Process(policy.SvirtTCGType, vm.Status.Level); vm.Status.Label != want {
		t.Errorf("label = %s; want %s", vm.Status.Label, want)
	}
	expectConsole(ctx, t, n, name, `SeaBIOS`)
	if _, err := n.Admin.Stop(ctx, name); err != nil {
		t.Error(err)
	}
	if err := n.Admin.Delete(ctx, name); err != nil {
		t.Error(err)
	}
}

// UEFI firmware has its variables in a file of its own, labelled as the VM's. It
// is emulated here: under KVM nested in emulation the whole machine once went off
// in the middle of this test.
func TestUEFI(t *testing.T) {
	n := booted(t)
	ctx, cancel := context.WithTimeout(t.Context(), guestTime)
	defer cancel()
	const name = "uefi"
	if _, err := n.Admin.CreateAndStart(ctx, spec.VM{Name: name, Memory: 128 << 20, Firmware: spec.FirmwareUEFI, Accelerator: spec.AcceleratorTCG}); err != nil {
		t.Fatal(err)
	}
	expectConsole(ctx, t, n, name, `BdsDxe|UEFI|Shell`)
	if _, err := n.Admin.Stop(ctx, name); err != nil {
		t.Error(err)
	}
	if err := n.Admin.Delete(ctx, name); err != nil {
		t.Error(err)
	}
}

// expectConsole waits for a line on a VM's console, from its beginning.
func expectConsole(ctx context.Context, t *testing.T, n *lab.Node, name, pattern string) {
	t.Helper()
	rw, err := n.Admin.Console(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	defer rw.Close()
	if _, err := lab.NewConsole("guest "+name, rw, nil).Expect(ctx, pattern); err != nil {
		t.Error(err)
	}
}
