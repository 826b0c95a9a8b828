package vmhost

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"casemate/vmhost/api"
	"casemate/vmhost/qemu"
)

var (
	errNotReady = errors.New("not ready in time")
	errAborted  = errors.New("stopped while it was starting")
)

// Start starts a VM and returns when it is ready: QMP has answered, and the
// process has the label that was meant. Anything else ends the process and
// gives back all that the start had taken. A caller that goes away does not
// stop the start.
func (m *Manager) Start(ctx context.Context, name string) (api.VM, error) {
	v, err := m.find(name)
	if err != nil {
		return api.VM{}, err
	}
	if err := v.begin(ctx, "start"); err != nil {
		return api.VM{}, err
	}
	defer v.end()
	limited, done := context.WithTimeoutCause(context.WithoutCancel(ctx), m.times.Start,
		fmt.Errorf("%w (%v)", errNotReady, m.times.Start))
	defer done()
	starting, abort := context.WithCancelCause(limited)
	v.mu.Lock()
	v.abort = func() { abort(errAborted) }
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		v.abort = nil
		v.mu.Unlock()
		abort(nil)
	}()

	began := time.Now()
	r, err := m.launch(starting, v)
	if err != nil {
		m.log.Error("VM did not start", "vm", name, "error", err)
		return api.VM{}, err
	}
	m.log.Info("VM started", "vm", name, "pid", r.proc.PID, "label", r.label, "after", time.Since(began).Round(time.Millisecond))
	return v.view(), nil
}

// launch makes a run, or nothing at all.
func (m *Manager) launch(ctx context.Context, v *vm) (_ *run, err error) {
	p := m.newPlan(v)
	r := &run{ended: make(chan struct{}), started: time.Now().UTC()}
	r.output = newTail(func(line string) { m.log.Warn("QEMU says", "vm", v.name(), "line", line) })
	var s session
	defer func() {
		p.close()
		if err != nil {
			s.close()
			err = errors.Join(err, m.rollBack(v, r))
		}
	}()
	// A run whose end could not be cleaned up may have left something.
	if err := m.release(v); err != nil {
		return nil, fmt.Errorf("an earlier run: %w", err)
	}
	if err := p.make(ctx); err != nil {
		return nil, err
	}
	cgroup, err := m.sys.cgroups.Create(v.cgroup(), qemu.Limits(uint64(v.doc.Memory), v.doc.CPUs, v.tcg()))
	if err != nil {
		return nil, fmt.Errorf("VM %s: cgroup: %w", v.name(), err)
	}
	defer cgroup.Close()
	r.dirs = p.dirs
	if r.proc, err = m.sys.launch(ctx, p.chamber, p.files, cgroup, r.output); err != nil {
		return nil, m.explain(v.owner(), err)
	}
	p.close()
	if s, err = m.ready(ctx, v, r); err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.run, v.reason = r, ""
	r.mon = s.mon
	v.state, v.reason = stateOf(s.status)
	v.mu.Unlock()
	if err := m.save(v); err != nil {
		v.mu.Lock()
		v.run, v.state = nil, api.Shutoff
		v.mu.Unlock()
		return nil, err
	}
	go m.watch(v, r, s)
	return r, nil
}

// ready waits until QEMU has answered and checks its label. The order matters:
// vmexec, too, is the process, until it has executed QEMU; only QEMU answers.
func (m *Manager) ready(ctx context.Context, v *vm, r *run) (session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-r.proc.Done():
			cancel(fmt.Errorf("QEMU ended: %v: %s", r.proc.Exit(), r.output.Last()))
		case <-ctx.Done():
		}
	}()
	fail := func(err error) (session, error) {
		// Its sockets break a moment before the process is seen to end, and
		// that is what there is to tell.
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
		return session{}, fmt.Errorf("VM %s: %w", v.name(), err)
	}
	conn, err := m.dialConsole(ctx, v)
	if err != nil {
		return fail(err)
	}
	v.console.attach(conn)
	s, err := m.connect(ctx, v)
	if err != nil {
		return fail(err)
	}
	if r.label, err = m.checkLabel(v, r.proc); err != nil {
		s.close()
		return fail(err)
	}
	return s, nil
}

// checkLabel reads the process's label and refuses any but the one meant.
func (m *Manager) checkLabel(v *vm, p *qemu.Process) (string, error) {
	label, err := m.sys.labels.process(p.PID)
	if err != nil {
		return "", fmt.Errorf("read label of process %d: %w", p.PID, err)
	}
	if want := v.processLabel(); label != want {
		return "", fmt.Errorf("process %d has the label %q instead of %q: it is not let run", p.PID, label, want)
	}
	return label, nil
}

// rollBack undoes a start that failed.
func (m *Manager) rollBack(v *vm, r *run) error {
	var err error
	if r.proc != nil {
		err = errors.Join(r.proc.Kill(), m.awaitEnd(r.proc))
	}
	v.console.close()
	return errors.Join(err, m.release(v))
}

// awaitEnd waits for a killed process.
func (m *Manager) awaitEnd(p *qemu.Process) error {
	select {
	case <-p.Done():
		return nil
	case <-time.After(m.times.Quit):
		return fmt.Errorf("process %d does not end, though it was killed", p.PID)
	}
}

// release gives back what a run held. It may be called when there is nothing to
// give back. If a process is left that can not be killed, the volumes stay
// held: two writers are worse than a VM that can not start.
func (m *Manager) release(v *vm) error {
	ctx, cancel := context.WithTimeout(context.Background(), m.times.Quit)
	defer cancel()
	if err := m.sys.cgroups.Remove(ctx, v.cgroup()); err != nil {
		return fmt.Errorf("VM %s: remove cgroup (its volumes stay held): %w", v.name(), err)
	}
	var errs []error
	for _, s := range []string{qmpSocket, consoleSocket} {
		if err := os.Remove(filepath.Join(m.dir(v), s)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := m.sys.media.Release(v.owner()); err != nil {
		errs = append(errs, fmt.Errorf("VM %s: restore labels: %w", v.name(), err))
	}
	m.holders.Release(v.owner())
	return errors.Join(errs...)
}

// explain turns what vmexec reports into what the caller can do about it.
func (m *Manager) explain(owner string, err error) error {
	var f *qemu.Failure
	if !errors.As(err, &f) {
		return fmt.Errorf("%s: %w", owner, err)
	}
	errno := syscall.Errno(f.Errno)
	switch f.Op {
	case qemu.OpCreateVolume:
		if errno == syscall.EEXIST {
			return refuse(http.StatusConflict, "%s: there is such a file already, and it is not overwritten: choose another name", owner)
		}
		return refuse(http.StatusServiceUnavailable, "%s: %v", owner, f)
	case qemu.OpOpenVolume:
		if errno == syscall.ENOENT {
			return refuse(http.StatusUnprocessableEntity, "%s: %s: no such file: make it with casemate volume create", owner, f.Object)
		}
		return refuse(http.StatusUnprocessableEntity, "%s: %v", owner, f)
	case qemu.OpMountVolume, qemu.OpMakeDirs:
		if errno == syscall.ENOENT {
			return refuse(http.StatusUnprocessableEntity, "%s: %s", owner, f.Message)
		}
		return refuse(http.StatusServiceUnavailable, "%s: %s", owner, f.Message)
	}
	return fmt.Errorf("%s: %w", owner, f)
}
