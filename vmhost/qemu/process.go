package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a running program by its pidfd: its own child, or one that an
// earlier manager started.
type Process struct {
	PID int
	// StartTime tells it from another process that gets the same PID later:
	// clock ticks after boot (proc_pid_stat(5), field 22).
	StartTime uint64

	pidfd *os.File
	done  chan struct{}
	exit  Exit
}

// Exit is how a process ended. Known is false for one that is not our child:
// the kernel tells only its parent.
type Exit struct {
	Known  bool
	Code   int            // if it exited
	Signal syscall.Signal // if it was killed
}

// OK reports a known exit with status 0.
func (e Exit) OK() bool { return e.Known && e.Code == 0 && e.Signal == 0 }

func (e Exit) String() string {
	switch {
	case !e.Known:
		return "ended, how is not known"
	case e.Signal != 0:
		return "killed by " + unix.SignalName(e.Signal)
	}
	return "exit status " + strconv.Itoa(e.Code)
}

func newChild(cmd *exec.Cmd, pidfd int) (*Process, error) {
	if pidfd < 0 {
		return nil, errors.New("the kernel gave no pidfd")
	}
	start, err := startTime(cmd.Process.Pid)
	if err != nil {
		unix.Close(pidfd)
		return nil, err
	}
	p := &Process{
		PID: cmd.Process.Pid, StartTime: start,
		pidfd: os.NewFile(uintptr(pidfd), "pidfd"), done: make(chan struct{}),
	}
	go func() {
		defer close(p.done)
		cmd.Wait() // the state says it all
		if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
			p.exit = Exit{Known: true}
			if st.Signaled() {
				p.exit.Signal = st.Signal()
			} else {
				p.exit.Code = st.ExitStatus()
			}
		}
	}()
	return p, nil
}

// Adopt finds the process pid again. It fails if that is not the one that
// started at startTime.
func Adopt(pid int, start uint64) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd") // non-blocking: with the runtime's poller
	// With the pidfd at hand the pid can not change its meaning any more.
	if got, err := startTime(pid); err != nil || got != start {
		pidfd.Close()
		return nil, fmt.Errorf("process %d is not the one that was recorded (started at %d, not %d): %w", pid, got, start, os.ErrProcessDone)
	}
	conn, err := pidfd.SyscallConn()
	if err != nil {
		pidfd.Close()
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	p := &Process{PID: pid, StartTime: start, pidfd: pidfd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		conn.Read(func(fd uintptr) bool { // a pidfd is readable when the process has ended
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
	}()
	return p, nil
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit tells how it ended. Only after Done.
func (p *Process) Exit() Exit {
	<-p.done
	return p.exit
}

// Kill ends the process. One that has ended already is no error.
func (p *Process) Kill() error {
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	var killErr error
	err = conn.Control(func(fd uintptr) { killErr = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
	if err = errors.Join(err, killErr); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return nil
}

// startTime reads field 22 of /proc/PID/stat. The name in field 2 may hold
// anything, so counting begins after its last parenthesis.
func startTime(pid int) (uint64, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	rest := string(b[strings.LastIndexByte(string(b), ')')+1:])
	if fields := strings.Fields(rest); len(fields) >= 20 {
		return strconv.ParseUint(fields[19], 10, 64)
	}
	return 0, fmt.Errorf("%s: %q is not understood", path, b)
}
