package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"casemate/initramfs/boot/halt"
	"casemate/policy"

	"golang.org/x/sys/unix"
)

// Runner runs something once.
type Runner interface {
	// Run starts it, calls ready when it serves, and returns when it has
	// ended. When ctx ends, Run stops it and returns.
	Run(ctx context.Context, ready func()) error
	String() string
}

// Process is a Runner: one program.
type Process struct {
	Name string
	Path string
	Args []string // argv, with argv[0]
	Env  []string // all of it, besides NOTIFY_FD
	// Label is the SELinux context to run in; empty: as the policy says.
	Label    string
	UID, GID uint32
	// Stop asks the program to end. After StopTimeout it is killed.
	Stop        unix.Signal
	StopTimeout time.Duration
	// Output takes what the program writes to descriptors 1 and 2. It must
	// read until EOF, or the program blocks.
	Output func(io.Reader)
	Reaper *Reaper
}

func (p *Process) String() string { return p.Name }

// notifyFD is the descriptor on which the program writes "ready\n".
const notifyFD = 3

// Run implements Runner.
func (p *Process) Run(ctx context.Context, ready func()) error {
	pid, ended, err := p.start(ready)
	if err != nil {
		return fmt.Errorf("start %s (%s as %s): %w", p.Name, p.Path, p.Label, err)
	}
	select {
	case status := <-ended:
		return status.Err()
	case <-ctx.Done():
	}
	if err := p.Reaper.Signal(pid, p.Stop); err != nil {
		return err
	}
	timeout := time.NewTimer(p.StopTimeout)
	defer timeout.Stop()
	select {
	case status := <-ended:
		return status.Err()
	case <-timeout.C:
	}
	if err := p.Reaper.Signal(pid, unix.SIGKILL); err != nil {
		return err
	}
	<-ended
	return fmt.Errorf("killed: it had not ended %v after %s", p.StopTimeout, unix.SignalName(p.Stop))
}

func (p *Process) start(ready func()) (int, <-chan Status, error) {
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer stdin.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer outW.Close()
	notifyR, notifyW, err := os.Pipe()
	if err != nil {
		outR.Close()
		return 0, nil, err
	}
	defer notifyW.Close()

	cmd := &exec.Cmd{
		Path: p.Path, Args: p.Args, Env: append(p.Env[:len(p.Env):len(p.Env)], "NOTIFY_FD="+strconv.Itoa(notifyFD)),
		Dir: "/", Stdin: stdin, Stdout: outW, Stderr: outW, ExtraFiles: []*os.File{notifyW},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if p.UID != 0 || p.GID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: p.UID, Gid: p.GID}
	}
	pid, ended, err := labelled(p.Label, func() (int, <-chan Status, error) { return p.Reaper.Start(cmd) })
	if err != nil {
		outR.Close()
		notifyR.Close()
		return 0, nil, err
	}
	go func() {
		defer halt.OnPanic()
		defer outR.Close()
		p.Output(outR)
	}()
	go func() {
		defer halt.OnPanic()
		defer notifyR.Close()
		var line [6]byte
		if _, err := io.ReadFull(notifyR, line[:]); err == nil && string(line[:]) == "ready\n" {
			ready()
		}
	}()
	return pid, ended, nil
}

type started struct {
	pid   int
	ended <-chan Status
	err   error
}

// labelled calls start so that the program it executes runs in context label.
// The kernel keeps the exec label per thread and a child inherits it, so start
// has a thread of its own. That thread is given up afterwards, not reset: a
// label left behind would reach the next program that happened to start there.
func labelled(label string, start func() (int, <-chan Status, error)) (int, <-chan Status, error) {
	if label == "" {
		return start()
	}
	c := make(chan started)
	go func() {
		defer halt.OnPanic()
		runtime.LockOSThread() // and no unlock: the thread ends with the goroutine
		if err := policy.SetThread("exec", label); err != nil {
			c <- started{err: err}
			return
		}
		pid, ended, err := start()
		if unset := policy.SetThread("exec", ""); unset != nil { // should it be the main thread, it stays
			err = errors.Join(err, unset)
		}
		c <- started{pid, ended, err}
	}()
	s := <-c
	return s.pid, s.ended, s.err
}
