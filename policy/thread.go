package policy

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SetThread writes label to /proc/thread-self/attr/NAME of the calling thread,
// which must be locked: exec (the next execve), fscreate (new files) or
// sockcreate (new sockets). An empty label clears it. See selinux(8) and
// security/selinux/hooks.c, selinux_lsm_setattr.
//
// opencontainers/selinux can do this too, but mounts a procfs of its own first,
// for which no domain here has the permission. The file is opened without
// O_CREAT: with it the kernel asks for permission to create files in /proc.
func SetThread(name, label string) error {
	path := "/proc/thread-self/attr/" + name
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	b := []byte(label)
	if label == "" {
		b = []byte{0} // the kernel takes it for "none"
	}
	if _, err := unix.Write(fd, b); err != nil {
		return &os.PathError{Op: fmt.Sprintf("write label %q to", label), Path: path, Err: err}
	}
	return nil
}
