package qemutests

import (
	"testing"

	"casemate/policy"
)

// domains has the label of every program that may run on a node without guests.
var domains = map[string]string{
	"init":    policy.InitContext,
	"vmhostd": policy.VMHostContext,
	"gateway": policy.GatewayContext,
}

// Every process runs in its own domain, and only kernel threads in the kernel's.
func TestProcessLabels(t *testing.T) {
	n := booted(t)
	all, err := n.Admin.Inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, p := range all.Processes {
		switch want, known := domains[p.Comm]; {
		case p.Kernel:
			if p.Label != policy.KernelContext {
				t.Errorf("kernel thread %d %s has label %s; want %s", p.PID, p.Comm, p.Label, policy.KernelContext)
			}
			seen["kernel"]++
		case p.VM != "": // TestGuestLabels looks at these
		case !known:
			t.Errorf("process %d %s (%s) is in no table", p.PID, p.Comm, p.Label)
		default:
			if p.Label != want {
				t.Errorf("process %d %s has label %s; want %s", p.PID, p.Comm, p.Label, want)
			}
			seen[p.Comm]++
		}
	}
	for comm := range domains {
		if seen[comm] != 1 {
			t.Errorf("%d processes %s; want 1", seen[comm], comm)
		}
	}
	if seen["kernel"] == 0 {
		t.Error("no kernel thread in the list; want many: is the list complete?")
	}
}
