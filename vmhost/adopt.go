package vmhost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"casemate/policy/mcs"
	"casemate/vmhost/api"
	"casemate/vmhost/spec"
)

// Adopt takes over what an earlier manager left: the definitions with their
// pairs, and the VMs that run. To be called once, before anything else.
//
// A process is taken for a VM only if pid, start time and label are those that
// are recorded. One whose label differs is killed: nobody knows what it is.
func (m *Manager) Adopt(ctx context.Context) error {
	if err := os.MkdirAll(m.paths.VMs, 0o700); err != nil {
		return err
	}
	recs, errs := readRecords(m.paths.VMs)
	for _, err := range errs {
		// Its QEMU, if any, falls to the sweep below.
		m.log.Error("adopt: a VM is lost", "error", err)
	}
	var running sync.WaitGroup
	for _, rec := range recs {
		v, err := m.restore(rec)
		if err != nil {
			m.log.Error("adopt: a VM is lost", "vm", rec.Document.Name, "error", err)
			continue
		}
		m.vms[v.name()] = v
		if rec.Run == nil {
			continue
		}
		running.Go(func() { // side by side: one that hangs must not delay the others
			if err := m.adoptRun(ctx, v, *rec.Run); err != nil {
				m.log.Error("adopt: the VM does not run any more", "vm", v.name(), "error", err)
				m.lost(v, err)
			}
		})
	}
	running.Wait()
	return errors.Join(m.sweep(ctx), m.sys.media.Sweep())
}

// restore makes the vm of a record, not running.
func (m *Manager) restore(rec record) (*vm, error) {
	if !spec.ValidVMName(rec.Document.Name) {
		return nil, fmt.Errorf("name %q is not a VM's", rec.Document.Name)
	}
	pair, err := mcs.ParseLevel(rec.Level)
	if err != nil {
		return nil, err
	}
	v := &vm{
		doc: rec.Document, uuid: rec.UUID, uid: rec.UID, pair: pair,
		console: newConsole(), op: make(chan struct{}, 1), state: rec.State, reason: rec.Reason,
	}
	if v.state != api.Crashed {
		v.state = api.Shutoff
	}
	return v, m.pairs.Reserve(v.owner(), pair)
}

// adoptRun takes over a running QEMU, or ends it.
func (m *Manager) adoptRun(ctx context.Context, v *vm, rr runRecord) error {
	proc, err := m.sys.adopt(rr.PID, rr.StartTime)
	if err != nil {
		return err
	}
	r := &run{proc: proc, started: rr.Started, dirs: rr.Directories, ended: make(chan struct{})}
	if err := m.retake(v, r); err != nil {
		return errors.Join(err, proc.Kill(), m.awaitEnd(proc))
	}
	ctx, cancel := context.WithTimeout(ctx, m.times.QMP)
	defer cancel()
	if conn, err := m.dialConsole(ctx, v); err != nil {
		m.log.Error("adopt", "vm", v.name(), "error", err)
	} else {
		v.console.attach(conn)
	}
	s, err := m.connect(ctx, v)
	v.mu.Lock()
	v.run, r.mon = r, s.mon
	if err != nil {
		// It may be busy; watch goes on trying, and stop works all the same.
		v.state, v.reason = api.Running, "QEMU has not answered on QMP yet"
	} else {
		v.state, v.reason = stateOf(s.status)
	}
	state := v.state
	v.mu.Unlock()
	m.log.Info("VM adopted", "vm", v.name(), "pid", proc.PID, "label", r.label, "state", state, "qmp", err)
	go m.watch(v, r, s)
	return nil
}

// retake checks the label and takes again what the run holds.
func (m *Manager) retake(v *vm, r *run) (err error) {
	if r.label, err = m.checkLabel(v, r.proc); err != nil {
		return err
	}
	if err := m.hold(v.owner(), r.dirs); err != nil {
		return err
	}
	local := []string{}
	for _, d := range v.doc.Disks {
		local = append(local, d.Volume)
	}
	if k := v.doc.Kernel; k != nil {
		local = append(local, k.Image, k.Initrd)
	}
	for _, l := range local {
		if name, ok := strings.CutPrefix(l, "local/"); ok {
			f, err := m.takeMedia(v, name)
			if err != nil {
				return err
			}
			f.Close()
		}
	}
	return nil
}

// lost cleans up after a VM that ran when its record was written.
func (m *Manager) lost(v *vm, cause error) {
	v.mu.Lock()
	v.state, v.reason = api.Crashed, "ended while no manager ran: "+cause.Error()
	v.mu.Unlock()
	if err := errors.Join(m.release(v), m.save(v)); err != nil {
		m.log.Error("adopt", "vm", v.name(), "error", err)
	}
}

// removeCgroup ends what runs in a cgroup, within bounds: a process that waits
// for a dead NFS server can not be killed, and must not keep the node from
// serving.
func (m *Manager) removeCgroup(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, m.times.Quit)
	defer cancel()
	return m.sys.cgroups.Remove(ctx, name)
}

// sweep ends what runs in a cgroup of ours and is no VM: a start, or a volume's
// creation, that the manager did not survive.
func (m *Manager) sweep(ctx context.Context) error {
	keep := map[string]bool{}
	for _, v := range m.all() {
		if _, _, err := v.current(); err == nil {
			keep[v.cgroup()] = true
		}
	}
	names, err := m.sys.cgroups.List()
	if err != nil {
		return fmt.Errorf("list cgroups: %w", err)
	}
	var errs []error
	for _, name := range names {
		if keep[name] {
			continue
		}
		m.log.Warn("adopt: ending what runs in a cgroup that is no VM's", "cgroup", name)
		if err := m.removeCgroup(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("cgroup %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
