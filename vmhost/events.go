package vmhost

import (
	"fmt"

	goqemu "github.com/digitalocean/go-qemu/qmp"

	"casemate/vmhost/api"
)

// event changes the VM's state as QEMU reports it. QEMU may be the guest's by
// now: an event is never more than a word about this very VM.
func (m *Manager) event(v *vm, r *run, e goqemu.Event) {
	v.mu.Lock()
	before := v.state
	v.apply(r, e)
	after, reason := v.state, v.reason
	v.mu.Unlock()
	if after != before {
		m.log.Info("VM state", "vm", v.name(), "event", e.Event, "state", after, "reason", reason)
	}
}

// apply is the part of the state machine that QEMU drives. With v.mu held.
func (v *vm) apply(r *run, e goqemu.Event) {
	text := func(key string) string { s, _ := e.Data[key].(string); return s }
	switch e.Event {
	case "STOP":
		// On its way out QEMU stops the CPUs, too.
		if !r.stopping && !r.guestOff && r.failing == "" {
			v.state = api.Paused
		}
	case "RESUME":
		v.state, v.reason = api.Running, ""
	case "RESET":
		// The guest rebooted instead of powering off, or was reset.
		if v.state == api.Shutdown {
			v.state = api.Running
		}
	case "SHUTDOWN":
		switch guest, _ := e.Data["guest"].(bool); {
		case text("reason") == "guest-panic":
			r.failing = "the guest panicked"
		case guest:
			r.guestOff = true
		}
	case "GUEST_PANICKED":
		r.failing = "the guest panicked"
		v.reason = r.failing
	case "BLOCK_IO_ERROR":
		v.reason = fmt.Sprintf("I/O error on %.64q (%.16q): %.200q", text("node-name"), text("operation"), text("reason"))
	}
}

// ended cleans up after QEMU and decides what its end means.
func (m *Manager) ended(v *vm, r *run) {
	exit := r.proc.Exit()
	v.console.close()
	err := m.release(v)
	v.mu.Lock()
	v.state, v.reason = endState(r, exit.Known, exit.OK())
	if v.state == api.Crashed && v.reason == "" {
		v.reason = "QEMU: " + exit.String()
		if last := r.output.Last(); last != "" {
			v.reason += ": " + last
		}
	}
	v.run = nil
	state, reason := v.state, v.reason
	v.mu.Unlock()
	if err != nil {
		m.log.Error("clean up after VM", "vm", v.name(), "error", err)
	}
	if err := m.save(v); err != nil {
		m.log.Error("save", "vm", v.name(), "error", err)
	}
	m.log.Info("VM ended", "vm", v.name(), "state", state, "exit", exit.String(), "reason", reason)
	close(r.ended)
}

// endState: an end that somebody asked for, the guest included, is shutoff. An
// adopted QEMU is not our child, so nobody tells how it exited: then only what
// it said before counts.
func endState(r *run, known, ok bool) (api.State, string) {
	switch {
	case r.stopping:
		return api.Shutoff, ""
	case r.failing != "":
		return api.Crashed, r.failing
	case known && ok, r.guestOff && !known:
		return api.Shutoff, ""
	}
	return api.Crashed, ""
}
