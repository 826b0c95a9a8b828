package qemutests

import (
	"context"
	"testing"
	"time"

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
