package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Launcher starts vmexec. The zero value is not usable: NewLauncher.
type Launcher struct {
	// Path is the program that is vmexec when its argv[0] says so.
	Path string
	// Cloneflags are the namespaces that vmexec begins in. It leaves the
	// network namespace later, by itself.
	Cloneflags uintptr
	// Env is vmexec's environment, which ends with it.
	Env []string
}

// NewLauncher gives the launcher for this program's own binary.
func NewLauncher() Launcher {
	return Launcher{
		Path:       "/proc/self/exe",
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
	}
}

// Start has vmexec carry c out, and returns when it has become the program, or
// when it has exited without error if there was none to become. The i-th of
// files is descriptor FirstFD+i. The process is born in cgroup (a directory;
// nil: the caller's own). Its output goes to output.
//
// An error is a *Failure if vmexec reported it. When ctx ends first, the
// process is killed. After success ctx means nothing: the process lives on,
// also without its parent.
func (l Launcher) Start(ctx context.Context, c Chamber, files []*os.File, cgroup *os.File, output io.Writer) (*Process, error) {
	document, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("chamber document: %w", err)
	}
	docR, docW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer docR.Close()
	defer docW.Close()
	errR, errW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer errR.Close()
	defer errW.Close()

	pidfd := -1
	cmd := &exec.Cmd{
		Path:       l.Path,
		Args:       []string{"vmexec"},
		Env:        append([]string{}, l.Env...), // not nil: nothing of the manager's
		Dir:        "/",
		Stdout:     output,
		Stderr:     output,
		ExtraFiles: append([]*os.File{docR, errW}, files...),
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags: l.Cloneflags,
			Setsid:     true, // no signal to the manager's group reaches a VM
			PidFD:      &pidfd,
		},
	}
	if cgroup != nil {
		cmd.SysProcAttr.UseCgroupFD = true
		cmd.SysProcAttr.CgroupFD = int(cgroup.Fd())
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start vmexec: %w", err)
	}
	p, err := newChild(cmd, pidfd)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, fmt.Errorf("watch vmexec: %w", err)
	}
	docR.Close()
	errW.Close()
	if err := await(ctx, docW, document, errR); err != nil {
		p.Kill()
		<-p.Done()
		return nil, err
	}
	return p, nil
}

// await sends the document and reads the error pipe until it closes.
func await(ctx context.Context, docW *os.File, document []byte, errR *os.File) error {
	stop := context.AfterFunc(ctx, func() {
		docW.Close()
		errR.Close()
	})
	defer stop()
	_, writeErr := docW.Write(document)
	docW.Close()
	report, err := bufio.NewReader(io.LimitReader(errR, 64<<10)).ReadBytes('\n')
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("vmexec: %w", context.Cause(ctx))
	case errors.Is(err, io.EOF) && len(report) == 0 && writeErr == nil:
		return nil
	case writeErr != nil:
		return fmt.Errorf("send chamber document to vmexec: %w", writeErr)
	}
	var f Failure
	if err := json.Unmarshal(report, &f); err != nil {
		return fmt.Errorf("vmexec: unreadable report %q: %w", report, err)
	}
	return &f
}
