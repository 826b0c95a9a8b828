package vmhost

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	goqemu "github.com/digitalocean/go-qemu/qmp"
	"github.com/digitalocean/go-qemu/qmp/raw"

	"casemate/vmhost/api"
	"casemate/vmhost/qmp"
)

// session is a QMP connection to a VM, from whose beginning no event is missed.
type session struct {
	mon    *qmp.Monitor
	events <-chan goqemu.Event
	status raw.RunState
}

// connect begins a session: QEMU has answered when it returns.
func (m *Manager) connect(ctx context.Context, v *vm) (session, error) {
	mon, err := qmp.Dial(ctx, filepath.Join(m.dir(v), qmpSocket))
	if err != nil {
		return session{}, err
	}
	s := session{mon: mon}
	var st raw.StatusInfo
	if s.events, err = mon.Events(context.Background()); err == nil { // until mon ends
		err = mon.Execute(ctx, "query-status", nil, &st)
	}
	if err != nil {
		s.close()
		return session{}, err
	}
	s.status = st.Status
	m.qemuMu.Lock()
	m.qemuVersion = mon.Version().String()
	m.qemuMu.Unlock()
	return s, nil
}

func (s session) close() {
	if s.mon != nil {
		s.mon.Disconnect()
	}
}

// stateOf gives our state, and the reason if it was not asked for.
func stateOf(s raw.RunState) (api.State, string) {
	switch s {
	case raw.RunStateRunning, raw.RunStateSuspended:
		return api.Running, ""
	case raw.RunStatePaused, raw.RunStatePrelaunch:
		return api.Paused, ""
	}
	return api.Paused, "QEMU says " + s.String()
}

func (m *Manager) dialConsole(ctx context.Context, v *vm) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", filepath.Join(m.dir(v), consoleSocket))
	if err != nil {
		return nil, fmt.Errorf("serial console: %w", err)
	}
	return conn, nil
}

// execute runs a QMP command with the manager's deadline.
func (m *Manager) execute(ctx context.Context, v *vm, mon *qmp.Monitor, command string) error {
	if mon == nil {
		return refuse(http.StatusServiceUnavailable, "VM %s: QEMU does not answer on QMP at present; stop works without", v.name())
	}
	ctx, cancel := context.WithTimeout(ctx, m.times.QMP)
	defer cancel()
	if err := mon.Execute(ctx, command, nil, nil); err != nil {
		return fmt.Errorf("VM %s: %w", v.name(), err)
	}
	return nil
}

// redialPause is how long a lost QMP connection rests before it is made again.
const redialPause = time.Second

// watch follows a run to its end: events while there is a QMP connection, a new
// connection when it is lost, and then the clean-up.
func (m *Manager) watch(v *vm, r *run, s session) {
	for {
		if s.mon != nil {
			for e := range s.events {
				m.event(v, r, e)
			}
			s.close()
		}
		v.mu.Lock()
		r.mon = nil
		v.mu.Unlock()
		select {
		case <-r.proc.Done():
			m.ended(v, r)
			return
		case <-time.After(redialPause):
		}
		m.log.Warn("QMP connection lost or missing: connecting", "vm", v.name())
		s = m.reconnect(v, r)
	}
}

// reconnect gives a new session, or none if it can not be had now.
func (m *Manager) reconnect(v *vm, r *run) session {
	ctx, cancel := context.WithTimeout(context.Background(), m.times.QMP)
	defer cancel()
	go func() {
		select {
		case <-r.proc.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	s, err := m.connect(ctx, v)
	if err != nil {
		m.log.Error("QMP", "vm", v.name(), "error", err)
		return session{}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	r.mon = s.mon
	if v.state != api.Shutdown || s.status != raw.RunStateRunning {
		v.state, v.reason = stateOf(s.status)
	}
	return s
}
