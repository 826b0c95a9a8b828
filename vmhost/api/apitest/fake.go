// Package apitest has a Manager in memory for tests of what speaks to the API.
// It keeps the rules of states and names that the real one keeps, and knows
// nothing of QEMU, labels in a kernel, or volumes.
package apitest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"casemate/policy"
	"casemate/vmhost/api"
	"casemate/vmhost/spec"
)

// Fake is a Manager in memory. The zero value is an empty node.
type Fake struct {
	// StartError, if set, is what every start ends with.
	StartError error
	// Delay is how long a creation takes.
	Delay time.Duration
	// Log is what Logs has; with follow, what comes on Tail follows.
	Log  string
	Tail chan string

	mu      sync.Mutex
	vms     map[string]*api.VM
	volumes map[string]api.Volume
	next    int
	powered []api.PowerAction
}

var (
	_ api.Manager   = (*Fake)(nil)
	_ api.Inspector = (*Fake)(nil)
)

func refuse(status int, format string, args ...any) error {
	return &api.Error{Status: status, Detail: fmt.Sprintf(format, args...)}
}

// Powered gives the power actions so far.
func (f *Fake) Powered() []api.PowerAction {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.powered)
}

// Capabilities describes a node that does not exist.
func (f *Fake) Capabilities(context.Context) (api.Capabilities, error) {
	return api.Capabilities{
		Node: "node-1", Version: "test", Kernel: "6.12.117", QEMU: "10.0.13", KVM: true, CPUs: 2, Memory: 4 << 30, Uptime: 12.5,
		Security: api.SecurityModel{
			Model: "selinux", DOI: "0", Enforcing: true,
			Policy: api.Policy{Version: 33, Digest: "sha256:abcd"},
			BaseLabels: map[string]string{
				"kvm": policy.Process(policy.SvirtType, "s0"), "tcg": policy.Process(policy.SvirtTCGType, "s0"),
			},
		},
	}, nil
}

// List gives the VMs by name.
func (f *Fake) List(context.Context) ([]api.VM, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []api.VM
	for _, name := range slices.Sorted(maps.Keys(f.vms)) {
		list = append(list, *f.vms[name])
	}
	return list, nil
}

// Get gives one VM.
func (f *Fake) Get(_ context.Context, name string) (api.VM, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	vm, err := f.find(name)
	if err != nil {
		return api.VM{}, err
	}
	return *vm, nil
}

func (f *Fake) find(name string) (*api.VM, error) {
	vm, ok := f.vms[name]
	if !ok {
		return nil, refuse(http.StatusNotFound, "no VM %q on this node", name)
	}
	return vm, nil
}

// Create takes a VM whose name is free.
func (f *Fake) Create(ctx context.Context, doc spec.VM) (api.VM, error) {
	select {
	case <-time.After(f.Delay):
	case <-ctx.Done():
		return api.VM{}, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.find(doc.Name); err == nil {
		return api.VM{}, refuse(http.StatusConflict, "VM %q exists: delete it first, or choose another name", doc.Name)
	}
	if f.vms == nil {
		f.vms = map[string]*api.VM{}
	}
	f.next++
	vm := &api.VM{VM: doc, Status: api.VMStatus{State: api.Shutoff, Level: fmt.Sprintf("s0:c%d,c%d", f.next, f.next+500)}}
	f.vms[doc.Name] = vm
	return *vm, nil
}

// Delete wants a VM that is shut off.
func (f *Fake) Delete(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	vm, err := f.find(name)
	if err != nil {
		return err
	}
	if vm.Status.PID != 0 {
		return refuse(http.StatusConflict, "VM %q is %s: stop it first", name, vm.Status.State)
	}
	delete(f.vms, name)
	return nil
}

// move changes a VM's state if it is in one of from.
func (f *Fake) move(name string, to api.State, from ...api.State) (api.VM, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	vm, err := f.find(name)
	if err != nil {
		return api.VM{}, err
	}
	if !slices.Contains(from, vm.Status.State) {
		return api.VM{}, refuse(http.StatusConflict, "VM %q is %s", name, vm.Status.State)
	}
	vm.Status.State = to
	switch {
	case to == api.Shutoff:
		vm.Status = api.VMStatus{State: to, Level: vm.Status.Level}
	case vm.Status.PID == 0:
		now := time.Now()
		vm.Status.PID, vm.Status.UID, vm.Status.StartedAt, vm.Status.Accelerator = 1000, 100001, &now, vm.Accelerator
		vm.Status.Label = policy.Process(policy.SvirtType, vm.Status.Level)
		vm.Status.ImageLabel = policy.Object(policy.ImageType, vm.Status.Level)
	}
	return *vm, nil
}

// Start wants a VM that is shut off or crashed.
func (f *Fake) Start(_ context.Context, name string) (api.VM, error) {
	if f.StartError != nil {
		return api.VM{}, f.StartError
	}
	return f.move(name, api.Running, api.Shutoff, api.Crashed)
}

// Shutdown asks a guest that never heeds it.
func (f *Fake) Shutdown(_ context.Context, name string) (api.VM, error) {
	return f.move(name, api.Shutdown, api.Running, api.Shutdown)
}

// Stop ends a VM.
func (f *Fake) Stop(_ context.Context, name string) (api.VM, error) {
	return f.move(name, api.Shutoff, api.Running, api.Paused, api.Shutdown, api.Crashed)
}

// Reset leaves a VM running.
func (f *Fake) Reset(_ context.Context, name string) (api.VM, error) {
	return f.move(name, api.Running, api.Running, api.Paused, api.Shutdown)
}

// Pause stops a running VM's CPUs.
func (f *Fake) Pause(_ context.Context, name string) (api.VM, error) {
	return f.move(name, api.Paused, api.Running)
}

// Resume lets them go on.
func (f *Fake) Resume(_ context.Context, name string) (api.VM, error) {
	return f.move(name, api.Running, api.Paused)
}

// Console greets and then echoes lines, until one is "exit".
func (f *Fake) Console(_ context.Context, name string) (io.ReadWriteCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	vm, err := f.find(name)
	if err != nil {
		return nil, err
	}
	if vm.Status.PID == 0 {
		return nil, refuse(http.StatusConflict, "VM %q is %s: start it first", name, vm.Status.State)
	}
	ours, theirs := net.Pipe()
	go func() {
		defer ours.Close()
		if _, err := io.WriteString(ours, "welcome to "+name+"\r\n"); err != nil {
			return
		}
		for lines := bufio.NewScanner(ours); lines.Scan() && lines.Text() != "exit"; {
			if _, err := fmt.Fprintln(ours, lines.Text()); err != nil {
				return
			}
		}
	}()
	return theirs, nil
}

// CreateVolume wants a free name.
func (f *Fake) CreateVolume(_ context.Context, req api.VolumeRequest) (api.Volume, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, taken := f.volumes[req.Volume]; taken {
		return api.Volume{}, refuse(http.StatusConflict, "volume %s exists", req.Volume)
	}
	if f.volumes == nil {
		f.volumes = map[string]api.Volume{}
	}
	f.volumes[req.Volume] = api.Volume(req)
	return f.volumes[req.Volume], nil
}

// Logs writes Log and then what comes on Tail.
func (f *Fake) Logs(ctx context.Context, w io.Writer, follow bool) error {
	if _, err := io.WriteString(w, f.Log); err != nil || !follow {
		return err
	}
	for {
		select {
		case line := <-f.Tail:
			if _, err := io.WriteString(w, line); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Power notes the action.
func (f *Fake) Power(_ context.Context, action api.PowerAction) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.powered = append(f.powered, action)
	return nil
}
