package qemutests

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"casemate/policy"
	"casemate/qemu-tests/lab"
)

// guestTime is how long a guest may take to be ready, nested in emulation.
const guestTime = 3 * time.Minute

// pair are the two guests that the isolation tests share.
var pair struct {
	once sync.Once
	a, b *lab.VM
	err  error
}

// guests gives two running guests with an NFS volume each.
func guests(t *testing.T) (a, b *lab.VM) {
	t.Helper()
	n := booted(t)
	pair.once.Do(func() {
		// No deadline: the consoles stay open as long as the node runs.
		if pair.a, pair.err = n.StartVM(context.Background(), "a"); pair.err != nil {
			return
		}
		if pair.b, pair.err = n.StartVM(context.Background(), "b"); pair.err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), guestTime)
		defer cancel()
		for _, g := range []*lab.VM{pair.a, pair.b} {
			line, err := g.WaitReady(ctx)
			if err == nil && !strings.HasSuffix(line, "kvm=true") {
				err = fmt.Errorf("%s; want kvm=true", line)
			}
			if err != nil {
				pair.err = err
				return
			}
		}
	})
	if pair.err != nil {
		t.Fatalf("no guests to test: %v", pair.err)
	}
	return pair.a, pair.b
}

// do types a command at a guest's console and gives the answer.
func do(t *testing.T, g *lab.VM, format string, args ...any) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	answer, err := g.Do(ctx, fmt.Sprintf(format, args...))
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// Each guest has its own pair, in the kernel's words, on every object of it.
func TestGuestLabels(t *testing.T) {
	n := booted(t)
	a, b := guests(t)
	if a.Status.Level == b.Status.Level {
		t.Errorf("both guests have level %s", a.Status.Level)
	}
	seen, err := n.Admin.Inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []*lab.VM{a, b} {
		name, level := g.Name, g.Status.Level
		if strings.Count(level, ",") != 1 || !strings.HasPrefix(level, "s0:c") {
			t.Errorf("guest %s has level %q; want s0 and two categories", name, level)
		}
		process, image := policy.Process(policy.SvirtType, level), policy.Object(policy.ImageType, level)
		if s := g.Status; s.Label != process || s.ImageLabel != image || s.Accelerator != "kvm" {
			t.Errorf("guest %s has status %+v; want KVM, label %s, image label %s", name, s, process, image)
		}
		found := 0
		for _, p := range seen.Processes {
			if p.VM != name {
				continue
			}
			found++
			if p.PID == g.Status.PID && p.Label != process {
				t.Errorf("QEMU of %s, pid %d, has label %s; want %s", name, p.PID, p.Label, process)
			}
			if p.Label == process && p.UID < 100000 {
				t.Errorf("QEMU of %s has uid %d; want one of the VMs'", name, p.UID)
			}
		}
		if found == 0 {
			t.Errorf("no process of guest %s in the list", name)
		}
		found = 0
		for _, m := range seen.Mounts {
			if m.VM != name {
				continue
			}
			found++
			if m.Label != image || !strings.Contains(m.Options, image) || !strings.HasPrefix(m.FSType, "nfs") {
				t.Errorf("mount of %s: %+v; want NFS with label and context= %s", name, m, image)
			}
		}
		if found != 1 {
			t.Errorf("guest %s has %d mounts; want 1", name, found)
		}
		kinds := map[string]bool{}
		for _, s := range seen.Sockets {
			if s.VM != name {
				continue
			}
			kinds[s.Kind] = true
			if want := policy.Object(policy.SvirtRunType, level); s.Label != want {
				t.Errorf("socket %s has label %s; want %s", s.Path, s.Label, want)
			}
			if s.Peer != process {
				t.Errorf("whoever connects to %s is checked against %s; want %s", s.Path, s.Peer, process)
			}
		}
		if !kinds["qmp"] || !kinds["console"] {
			t.Errorf("guest %s has sockets %v; want qmp and console", name, kinds)
		}
	}
}

// What a guest writes is on its own volume, and nowhere else.
func TestGuestDisks(t *testing.T) {
	a, b := guests(t)
	for _, g := range []*lab.VM{a, b} {
		if got, want := do(t, g, "size /dev/vda"), "ok 1073741824"; got != want {
			t.Errorf("guest %s: size = %s; want %s", g.Name, got, want)
		}
		if got := do(t, g, "write /dev/vda 8192 I am %s", g.Name); !strings.HasPrefix(got, "ok") {
			t.Errorf("guest %s: write = %s", g.Name, got)
		}
	}
	for _, g := range []*lab.VM{a, b} {
		if got, want := do(t, g, "read /dev/vda 8192 512"), fmt.Sprintf("ok %q", "I am "+g.Name); got != want {
			t.Errorf("guest %s: read = %s; want %s", g.Name, got, want)
		}
	}
}

// Packets go from the guest's NIC over tap, bridge and uplink, and back.
func TestGuestNetwork(t *testing.T) {
	a, _ := guests(t)
	if got := do(t, a, "dhcp eth0"); !strings.HasPrefix(got, "ok address=10.0.2.") {
		t.Errorf("DHCP in guest a = %s; want an address", got)
	}
}
