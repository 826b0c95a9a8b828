// Package supervise runs the node's services: it starts a program under its
// SELinux label, waits until it says that it is ready, starts it again when it
// ends, and reaps every process that ends on the node. It decides nothing about
// what to run; see services.go of package boot.
package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"time"

	"casemate/initramfs/boot/halt"

	"golang.org/x/sys/unix"
)

// Reaper owns all of PID 1's children. A process may be waited for once only,
// so nobody else does: os.Process.Wait and exec.Cmd.Wait, Run and Output must not be used in
// this program. (The other way, waitid with WNOWAIT and leaving alone what
// exec.Cmd waits for, spins on a zombie until its owner gets there.)
type Reaper struct {
	// Orphan is told of a process that ended and was not started here: VMs
	// whose manager is gone, for one.
	Orphan func(pid int, status Status)

	mu       sync.Mutex // held from fork until the child is known, and while reaping
	children map[int]chan Status
}

// Status says how a process ended.
type Status unix.WaitStatus

func (s Status) String() string {
	w := unix.WaitStatus(s)
	if w.Signaled() {
		return "killed by " + unix.SignalName(w.Signal())
	}
	return fmt.Sprintf("exit status %d", w.ExitStatus())
}

// Err is nil for exit status 0.
func (s Status) Err() error {
	if w := unix.WaitStatus(s); w.Exited() && w.ExitStatus() == 0 {
		return nil
	}
	return errors.New(s.String())
}

// Run reaps until stop is closed.
func (r *Reaper) Run(stop <-chan struct{}) {
	defer halt.OnPanic()
	c := make(chan os.Signal, 1) // one pending signal is enough: reap takes all
	signal.Notify(c, unix.SIGCHLD)
	defer signal.Stop(c)
	for {
		r.reap()
		select {
		case <-c:
		case <-stop:
			return
		}
	}
}

// Drain waits until there is no process left to reap, for d at most, and says
// whether that is so.
func (r *Reaper) Drain(d time.Duration) bool {
	for end := time.Now().Add(d); ; time.Sleep(10 * time.Millisecond) {
		if !r.reap() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// reap takes every zombie there is, and says whether there are more children.
func (r *Reaper) reap() (more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return err == nil // ECHILD: none is left
		}
		if c, ok := r.children[pid]; ok {
			delete(r.children, pid)
			c <- Status(ws)
		} else if r.Orphan != nil {
			r.Orphan(pid, Status(ws))
		}
	}
}

// Start starts cmd in place of cmd.Start. The channel gets its status when it
// has ended.
func (r *Reaper) Start(cmd *exec.Cmd) (pid int, ended <-chan Status, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	c := make(chan Status, 1)
	if r.children == nil {
		r.children = map[int]chan Status{}
	}
	r.children[cmd.Process.Pid] = c
	pid = cmd.Process.Pid
	return pid, c, cmd.Process.Release()
}

// Signal sends sig to a child that was started here and has not been reaped:
// another process can not have its number yet.
func (r *Reaper) Signal(pid int, sig unix.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.children[pid]; !ok {
		return nil
	}
	if err := unix.Kill(pid, sig); err != nil {
		return fmt.Errorf("send %s to process %d: %w", unix.SignalName(sig), pid, err)
	}
	return nil
}
