package vmhost

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/qemu"
	"casemate/vmhost/spec"
)

// becomeReal is vmexec without a chamber: it executes the QEMU of a folder of
// unpacked packages by that folder's own loader.
func becomeReal(c qemu.Chamber) {
	tree := os.Getenv("TREE")
	loader := filepath.Join(tree, "usr/lib64/ld-linux-x86-64.so.2")
	args := []string{loader, "--library-path", filepath.Join(tree, "usr/lib/x86_64-linux-gnu"),
		filepath.Join(tree, c.Args[0]), "-L", filepath.Join(tree, "usr/share/qemu"), "-L", filepath.Join(tree, "usr/share/seabios")}
	for _, fd := range c.Inherit {
		syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0)
	}
	if err := syscall.Exec(loader, append(args, c.Args[1:]...), nil); err != nil {
		println(err.Error())
	}
	os.Exit(1)
}

// TestRealQEMU runs the manager's operations against the real QEMU, by TCG.
func TestRealQEMU(t *testing.T) {
	if os.Getenv("CASEMATE_TEST_TREE") == "" {
		t.Skip("CASEMATE_TEST_TREE does not name a folder of unpacked packages with QEMU")
	}
	n := newFakeNode(t)
	n.set("real", "", "")
	if err := os.WriteFile(filepath.Join(n.m.paths.Media, "tools.iso"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	n.create(spec.VM{Name: "a", Accelerator: "tcg", CPUs: 2, Memory: 128 << 20, Disks: []spec.Disk{{Volume: "local/tools.iso"}}})
	ctx := t.Context()
	vm := n.start("a")
	if !strings.HasPrefix(vm.Status.Label, "system_u:system_r:svirt_tcg_t:s0:c") {
		t.Errorf("label %s; want svirt_tcg_t", vm.Status.Label)
	}
	c, err := n.m.Console(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(20*time.Second, func() { c.Close() })
	defer timer.Stop()
	var got strings.Builder
	for buf := make([]byte, 4096); !strings.Contains(got.String(), "SeaBIOS"); {
		k, err := c.Read(buf)
		if err != nil {
			t.Fatalf("console: %v after %q", err, got.String())
		}
		got.Write(buf[:k])
	}
	for _, step := range []struct {
		do   func() (api.VM, error)
		want api.State
	}{
		{func() (api.VM, error) { return n.m.Pause(ctx, "a") }, api.Paused},
		{func() (api.VM, error) { return n.m.Resume(ctx, "a") }, api.Running},
		{func() (api.VM, error) { return n.m.Reset(ctx, "a") }, api.Running},
		{func() (api.VM, error) { return n.m.Shutdown(ctx, "a") }, api.Shutdown},
		{func() (api.VM, error) { return n.m.Stop(ctx, "a") }, api.Shutoff},
	} {
		if _, err := step.do(); err != nil {
			t.Fatalf("towards %s: %v", step.want, err)
		}
		n.wantState("a", step.want)
	}
	if caps, err := n.m.Capabilities(ctx); err != nil || !strings.HasPrefix(caps.QEMU, "10.") {
		t.Errorf("Capabilities().QEMU = %q, %v; want the version of the QEMU that ran", caps.QEMU, err)
	}
	if left := n.left(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
