package qemutests

import (
	"context"
	"slices"
	"testing"
	"time"

	"casemate/policy"
	"casemate/qemu-tests/lab"
	"casemate/vmhost/api"
)

// What the kernel's policy, as loaded, answers for the labels in use. Each
// question is asked for the guest itself too: that answer must be yes, or the
// no for the other would say nothing about categories.
func TestAccess(t *testing.T) {
	n := booted(t)
	a, b := guests(t)
	levels := map[*lab.VM]string{a: a.Status.Level, b: b.Status.Level}
	for _, c := range []struct {
		what   string
		target func(level string) string
		class  string
		perms  []string // that the owner has
	}{
		{"disk", func(l string) string { return policy.Object(policy.ImageType, l) }, "file", []string{"read", "write"}},
		{"sockets, once open", func(l string) string { return policy.Process(policy.SvirtType, l) }, "unix_stream_socket", []string{"read", "write", "accept"}},
		{"descriptors", func(l string) string { return policy.Process(policy.SvirtType, l) }, "fd", []string{"use"}},
	} {
		for _, src := range []*lab.VM{a, b} {
			for _, dst := range []*lab.VM{a, b} {
				q := api.AccessQuery{Source: policy.Process(policy.SvirtType, levels[src]), Target: c.target(levels[dst]), Class: c.class}
				got, err := n.Admin.Access(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				if src != dst && len(got.Allowed) != 0 {
					t.Errorf("%s of guest %s: guest %s may %v; want nothing (%+v)", c.what, dst.Name, src.Name, got.Allowed, q)
				}
				for _, p := range c.perms {
					if src == dst && !slices.Contains(got.Allowed, p) {
						t.Errorf("%s of guest %s: it may %v itself; want %s too (%+v)", c.what, dst.Name, got.Allowed, p, q)
					}
				}
			}
		}
	}
}

// Nobody but the manager connects to a guest's QMP socket.
func TestAccessQMP(t *testing.T) {
	n := booted(t)
	a, b := guests(t)
	target := policy.Process(policy.SvirtType, b.Status.Level)
	file := policy.Object(policy.SvirtRunType, b.Status.Level)
	for _, c := range []struct {
		source, target, class, perm string
		want                        bool
	}{
		{policy.VMHostContext, target, "unix_stream_socket", "connectto", true},
		{policy.VMHostContext, file, "sock_file", "write", true},
		{a.Status.Label, target, "unix_stream_socket", "connectto", false},
		{a.Status.Label, file, "sock_file", "write", false},
		{policy.GatewayContext, target, "unix_stream_socket", "connectto", false},
		{policy.Process(policy.QemuImgType, a.Status.Level), target, "unix_stream_socket", "connectto", false},
	} {
		got, err := n.Admin.Access(t.Context(), api.AccessQuery{Source: c.source, Target: c.target, Class: c.class})
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(got.Allowed, c.perm) != c.want {
			t.Errorf("%s to %s: %s may %v; %s = %v, want %v", c.class, c.target, c.source, got.Allowed, c.perm, !c.want, c.want)
		}
	}
}

// A broken-out guest: QEMU of one is handed a disk over QMP. The other's is
// dropped by the kernel and the denial names both labels; its own passes.
func TestProbe(t *testing.T) {
	n := booted(t)
	a, b := guests(t)
	for _, c := range []struct {
		to, of *lab.VM
	}{{a, a}, {a, b}, {b, b}, {b, a}} {
		own := c.to == c.of
		d := lab.Denial{Source: c.to.Status.Label, Target: c.of.Status.ImageLabel, Class: "file"}
		if !own {
			provoke(d)
		}
		got, err := n.Admin.Probe(t.Context(), c.to.Name, api.ProbeRequest{DiskOf: c.of.Name})
		if err != nil {
			t.Fatal(err)
		}
		if got.Accepted != own || got.Label != c.to.Status.Label || got.Object != c.of.Status.ImageLabel {
			t.Errorf("disk of %s given to %s: %+v; want accepted=%v, label %s, object %s", c.of.Name, c.to.Name, got, own, c.to.Status.Label, c.of.Status.ImageLabel)
		}
		if !own {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if _, err := n.WaitDenial(ctx, d); err != nil {
				t.Error(err)
			}
			cancel()
		}
	}
	// Both go on undisturbed.
	for _, g := range []*lab.VM{a, b} {
		if vm, err := n.Admin.Get(t.Context(), g.Name); err != nil || vm.Status.State != api.Running {
			t.Errorf("guest %s after the probes: %v, %v; want running", g.Name, vm.Status.State, err)
		}
	}
}
