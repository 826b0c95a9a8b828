package vmhost

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/qmp"
)

// operate does one operation on a running VM by QMP. If QEMU obeyed, the VM's
// state becomes next ("" leaves it); events that contradict come later.
func (m *Manager) operate(ctx context.Context, name, op, command string, next api.State) (api.VM, error) {
	v, err := m.find(name)
	if err != nil {
		return api.VM{}, err
	}
	if err := v.begin(ctx, op); err != nil {
		return api.VM{}, err
	}
	defer v.end()
	r, mon, err := v.current()
	if err != nil {
		return api.VM{}, err
	}
	if err := m.execute(ctx, v, mon, command); err != nil {
		return api.VM{}, err
	}
	v.mu.Lock()
	if v.run == r && next != "" {
		v.state, v.reason = next, ""
	}
	v.mu.Unlock()
	m.log.Info("VM "+op, "vm", name)
	return v.view(), nil
}

// Shutdown presses the ACPI power button. What the guest makes of it is its own.
func (m *Manager) Shutdown(ctx context.Context, name string) (api.VM, error) {
	return m.operate(ctx, name, "shutdown", "system_powerdown", api.Shutdown)
}

// Reset presses the reset button.
func (m *Manager) Reset(ctx context.Context, name string) (api.VM, error) {
	return m.operate(ctx, name, "reset", "system_reset", "")
}

// Pause stops the virtual CPUs.
func (m *Manager) Pause(ctx context.Context, name string) (api.VM, error) {
	return m.operate(ctx, name, "pause", "stop", api.Paused)
}

// Resume lets them go on.
func (m *Manager) Resume(ctx context.Context, name string) (api.VM, error) {
	return m.operate(ctx, name, "resume", "cont", api.Running)
}

// Stop ends a VM at once, as if unplugged: QEMU is told to quit, then killed. A
// start that is under way is ended, too.
func (m *Manager) Stop(ctx context.Context, name string) (api.VM, error) {
	v, err := m.find(name)
	if err != nil {
		return api.VM{}, err
	}
	v.mu.Lock()
	aborted := v.abort != nil
	if aborted {
		v.abort()
	}
	v.mu.Unlock()
	if err := v.begin(ctx, "stop"); err != nil {
		if view := v.view(); aborted && view.Status.State == api.Shutoff {
			return view, nil
		}
		return api.VM{}, err
	}
	defer v.end()
	r, mon, err := v.current()
	if err != nil {
		return api.VM{}, err
	}
	v.mu.Lock()
	r.stopping = true
	v.mu.Unlock()
	if err := m.end(v, r, mon); err != nil {
		return api.VM{}, err
	}
	return v.view(), nil
}

// end ends a run by ever harder means and waits until all is given back. It
// does not end with its caller.
func (m *Manager) end(v *vm, r *run, mon *qmp.Monitor) error {
	if mon != nil {
		ctx, cancel := context.WithTimeout(context.Background(), m.times.Quit)
		defer cancel()
		// An error is a broken QEMU: the next means follows at once.
		if err := mon.Execute(ctx, "quit", nil, nil); err == nil && waitFor(r.ended, m.times.Quit) {
			return nil
		}
	}
	if err := r.proc.Kill(); err != nil {
		m.log.Error("kill QEMU", "vm", v.name(), "error", err)
	}
	// release kills the whole cgroup; it has its own deadline.
	if waitFor(r.ended, 3*m.times.Quit) {
		return nil
	}
	return fmt.Errorf("VM %s: process %d does not end, though it was killed: it may wait for a device of the node", v.name(), r.proc.PID)
}

func waitFor(done <-chan struct{}, d time.Duration) bool {
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// Console attaches to the serial console.
func (m *Manager) Console(_ context.Context, name string) (io.ReadWriteCloser, error) {
	v, err := m.find(name)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.check("console"); err != nil {
		return nil, err
	}
	return v.console.open(), nil
}

// Power has PID 1 turn the node off or boot it again. PID 1 comes back with
// SIGPWR, so that the guests are shut down first.
func (m *Manager) Power(_ context.Context, action api.PowerAction) error {
	signals := map[api.PowerAction]syscall.Signal{api.PowerOff: syscall.SIGUSR2, api.Reboot: syscall.SIGINT}
	sig, ok := signals[action]
	if !ok {
		return refuse(http.StatusUnprocessableEntity, "power action %q: want %s or %s", action, api.PowerOff, api.Reboot)
	}
	m.log.Info("node power", "action", action)
	if err := syscall.Kill(m.sys.pid1, sig); err != nil {
		return fmt.Errorf("signal process %d for %s: %w", m.sys.pid1, action, os.NewSyscallError("kill", err))
	}
	return nil
}

// ShutdownAll takes all VMs down before the node goes: by the power button
// first, and when grace is over, by force.
func (m *Manager) ShutdownAll(grace time.Duration) {
	deadline := time.Now().Add(grace)
	var wg sync.WaitGroup
	for _, v := range m.all() {
		wg.Go(func() { m.shutdownOne(v, deadline) })
	}
	wg.Wait()
}

func (m *Manager) shutdownOne(v *vm, deadline time.Time) {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	v.mu.Lock()
	if v.abort != nil {
		v.abort()
	}
	v.mu.Unlock()
	if _, err := m.Shutdown(ctx, v.name()); err == nil {
		if r, _, err := v.current(); err == nil && waitFor(r.ended, time.Until(deadline)) {
			return
		}
	}
	v.mu.Lock()
	running := v.run != nil
	v.mu.Unlock()
	if !running {
		return
	}
	m.log.Warn("VM did not power off in time: it is stopped", "vm", v.name())
	if _, err := m.Stop(context.Background(), v.name()); err != nil {
		m.log.Error("stop VM", "vm", v.name(), "error", err)
	}
}
