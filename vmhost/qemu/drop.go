package qemu

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// drop gives up all rights of the calling thread, and makes sure. The system
// calls are raw: Go's own would change all threads, which would be right, too,
// but these must all be about the one thread that executes.
func (c *Chamber) drop() error {
	unix.Umask(0o077)
	// syscall.Setrlimit, as Go would restore the limit it found at its start.
	for _, l := range []struct {
		name     string
		resource int
		value    uint64
	}{
		{"RLIMIT_CORE", unix.RLIMIT_CORE, 0}, // a guest's memory never lands in a file
		{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, c.NoFile},
	} {
		if err := syscall.Setrlimit(l.resource, &syscall.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fail("limit", l.name, err)
		}
	}
	// The bounding set first: it needs a capability.
	for capability := uintptr(0); ; capability++ {
		err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) && capability > unix.CAP_CHOWN {
			break // one past the kernel's last
		}
		if err != nil {
			return fail("drop from bounding set", fmt.Sprintf("capability %d", capability), err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fail("clear", "ambient capabilities", err)
	}
	uid, gid := uintptr(c.UID), uintptr(c.GID)
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
		return fail("drop", "groups", e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); e != 0 {
		return fail("become", fmt.Sprintf("gid %d", c.GID), e)
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); e != 0 {
		return fail("become", fmt.Sprintf("uid %d", c.UID), e)
	}
	// Also for uid 0, whose capabilities the change above does not take.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fail("drop", "capabilities", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fail("set", "no_new_privs", err)
	}
	if err := refuseFallocate(); err != nil {
		return fail("filter", "fallocate", err)
	}
	return nil
}
