package apitest

import (
	"context"
	"net/http"

	"casemate/vmhost/api"
)

// Inspect shows the processes that the fake would have.
func (f *Fake) Inspect(ctx context.Context) (api.Inspection, error) {
	vms, err := f.List(ctx)
	out := api.Inspection{Processes: []api.Process{}, Mounts: []api.Mount{}, Sockets: []api.Socket{}}
	for _, vm := range vms {
		if vm.Status.PID != 0 {
			out.Processes = append(out.Processes, api.Process{
				PID: vm.Status.PID, PPID: 1, Comm: "qemu-system-x86", UID: vm.Status.UID, Label: vm.Status.Label, VM: vm.Name,
			})
		}
	}
	return out, err
}

// Access grants everything between equal contexts and nothing otherwise.
func (f *Fake) Access(_ context.Context, q api.AccessQuery) (api.Access, error) {
	out := api.Access{AccessQuery: q, Allowed: []string{}}
	if q.Source == q.Target {
		out.Allowed = []string{"open", "read", "write"}
	}
	return out, nil
}

// Probe accepts a VM's own disk only.
func (f *Fake) Probe(ctx context.Context, name string, req api.ProbeRequest) (api.Probe, error) {
	var labels [2]api.VM
	for i, n := range []string{name, req.DiskOf} {
		vm, err := f.Get(ctx, n)
		if err != nil {
			return api.Probe{}, err
		}
		if vm.Status.PID == 0 {
			return api.Probe{}, refuse(http.StatusConflict, "VM %q is %s: start it first", n, vm.Status.State)
		}
		labels[i] = vm
	}
	return api.Probe{
		Accepted: name == req.DiskOf, Answer: "of a fake", Label: labels[0].Status.Label, Object: labels[1].Status.ImageLabel,
	}, nil
}
