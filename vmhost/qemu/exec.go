package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Exec is all of vmexec, the process between the manager and QEMU: it reads
// the chamber document from descriptor 3, builds the chamber, gives up every
// right and becomes the program. A failure goes to descriptor 4 as JSON; a
// successful exec closes that. It never returns.
//
// It runs in the manager's domain. Nothing of the guest's has been read yet,
// and nothing of it is read here but sixteen bytes of a qcow2 header.
func Exec() {
	os.Exit(run(selinux{}))
}

// run gives the exit status if there was nothing to execute or it failed.
func run(l labels) int {
	// Namespaces, user ids, capabilities and the exec label are a thread's
	// own. The thread that has them all is the one that executes.
	runtime.LockOSThread()
	unix.CloseOnExec(documentFD)
	unix.CloseOnExec(errorFD)
	report := os.NewFile(errorFD, "error pipe")
	var c Chamber
	err := c.read(os.NewFile(documentFD, "chamber document"))
	if err == nil {
		err = c.carryOut(l)
	}
	if err == nil {
		return 0
	}
	f := fail("vmexec", "chamber", err)
	f.Created = c.created
	if err := json.NewEncoder(report).Encode(f); err != nil {
		fmt.Fprintf(os.Stderr, "vmexec: %v (and it could not be reported: %v)\n", f, err)
	}
	return 1
}

func (c *Chamber) read(document *os.File) error {
	d := json.NewDecoder(document)
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return fail("read", "chamber document", err)
	}
	return nil
}

func (c *Chamber) carryOut(l labels) error {
	opened, err := c.build(l)
	if err != nil {
		return err
	}
	if len(c.Args) == 0 {
		return nil
	}
	// While /proc is still there. The label waits for the execve; the thread's
	// later changes of user and capabilities keep it.
	if err := l.setExec(c.Label); err != nil {
		return fail("set exec label", c.Label, err)
	}
	if err := c.enter(); err != nil {
		return err
	}
	if err := c.drop(); err != nil {
		return err
	}
	if err := keepOnly(append(opened, c.Inherit...)); err != nil {
		return err
	}
	return fail("execute", c.Args[0], syscall.Exec(c.Args[0], c.Args, []string{}))
}

// keepOnly has execve close all descriptors but 0, 1, 2 and fds. Nothing is
// closed before: the Go runtime has descriptors too.
func keepOnly(fds []int) error {
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fail("close_range", "all descriptors", err)
	}
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fail("keep", fmt.Sprintf("descriptor %d", fd), err)
		}
	}
	return nil
}

// fail makes err a *Failure, and keeps it if it is one.
func fail(op, object string, err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	f = &Failure{Op: op, Object: object, Message: err.Error()}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		f.Errno = int(errno)
	}
	return f
}
