package vmhost

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"casemate/policy"
	"casemate/policy/mcs"
	"casemate/vmhost/api"
	"casemate/vmhost/qemu"
	"casemate/vmhost/qmp"
	"casemate/vmhost/spec"
	"casemate/vmhost/volume"
)

// vm is one virtual machine of the node. It exists from Create to Delete; a
// life of QEMU in between is a run.
type vm struct {
	// Set once, before anybody else sees the vm.
	doc  spec.VM
	uuid string
	uid  uint32 // and gid; also names its taps
	pair mcs.Pair

	console *console

	// op is held by the operation under way: one at a time, and Get does not
	// wait for it.
	op chan struct{}

	// saving is held around the record's file: an end is recorded without op, and
	// must not write to a VM's directory that is being removed. Taken before mu.
	saving sync.Mutex

	mu     sync.Mutex // guards what follows; never held while waiting
	state  api.State
	reason string
	run    *run
	// abort ends a start that is under way, so that stop need not wait for it.
	abort context.CancelFunc
}

// run is one life of QEMU.
type run struct {
	proc    *qemu.Process
	mon     *qmp.Monitor // replaced under vm.mu when the connection is lost
	output  *tail
	label   string // read from the kernel
	started time.Time
	dirs    []volume.Directory // NFS directories that it holds
	// ended is closed when QEMU is gone and everything is given back.
	ended chan struct{}

	// What its end will mean; guarded by vm.mu.
	stopping bool   // somebody asked for the end
	guestOff bool   // the guest powered itself off
	failing  string // the guest panicked, say
}

// transitions is the state machine, in libvirt's words: an operation, and the
// states in which it makes sense. Everything else is refused with 409. The
// states themselves change as QEMU says (events.go), not as we wish.
var transitions = map[string][]api.State{
	"start":    {api.Shutoff, api.Crashed},
	"delete":   {api.Shutoff, api.Crashed},
	"shutdown": {api.Running, api.Shutdown},
	"stop":     {api.Running, api.Paused, api.Shutdown},
	"reset":    {api.Running, api.Paused, api.Shutdown},
	"pause":    {api.Running, api.Shutdown},
	"resume":   {api.Paused},
	"console":  {api.Running, api.Paused, api.Shutdown},
}

// check refuses op in a state that does not allow it. With v.mu held.
func (v *vm) check(op string) error {
	if slices.Contains(transitions[op], v.state) {
		return nil
	}
	want := make([]string, len(transitions[op]))
	for i, s := range transitions[op] {
		want[i] = string(s)
	}
	return refuse(http.StatusConflict, "VM %s is %s: %s needs it to be %s", v.doc.Name, v.state, op, strings.Join(want, " or "))
}

// begin waits for its turn and checks that op is possible. The caller must end
// it with v.end.
func (v *vm) begin(ctx context.Context, op string) error {
	select {
	case v.op <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%s VM %s: another operation is under way: %w", op, v.doc.Name, ctx.Err())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.check(op); err != nil {
		<-v.op
		return err
	}
	return nil
}

func (v *vm) end() { <-v.op }

func (v *vm) name() string  { return v.doc.Name }
func (v *vm) owner() string { return "VM " + v.doc.Name }
func (v *vm) tcg() bool     { return v.doc.Accelerator == spec.AcceleratorTCG }

// cgroup is the name of its cgroup.
func (v *vm) cgroup() string { return "vm-" + v.doc.Name }

// processLabel is the label that QEMU must have.
func (v *vm) processLabel() string {
	if v.tcg() {
		return policy.Process(policy.SvirtTCGType, v.pair.Level())
	}
	return policy.Process(policy.SvirtType, v.pair.Level())
}

func (v *vm) imageLabel() string { return policy.Object(policy.ImageType, v.pair.Level()) }

// view is the VM as the API shows it.
func (v *vm) view() api.VM {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := api.VM{VM: v.doc, Status: api.VMStatus{
		State: v.state, Reason: v.reason, Level: v.pair.Level(), UID: v.uid, Accelerator: v.doc.Accelerator,
	}}
	if r := v.run; r != nil {
		started := r.started
		out.Status.Label, out.Status.ImageLabel = r.label, v.imageLabel()
		out.Status.PID, out.Status.StartedAt = r.proc.PID, &started
	}
	return out
}

// current gives the run, or an error if there is none.
func (v *vm) current() (*run, *qmp.Monitor, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.run == nil {
		return nil, nil, refuse(http.StatusConflict, "VM %s is %s", v.doc.Name, v.state)
	}
	return v.run, v.run.mon, nil
}
