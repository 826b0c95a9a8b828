package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mount is one file system of the name space that stage0 needs.
type mount struct {
	source, target, fstype string
	flags                  uintptr
}

func (m mount) String() string {
	return fmt.Sprintf("mount %s (%s) on %s", m.source, m.fstype, m.target)
}

func (m mount) Create() error {
	if err := unix.Mount(m.source, m.target, m.fstype, m.flags, ""); err != nil {
		return fmt.Errorf("%v: %w", m, err)
	}
	return nil
}

// hint says what a failed mount of selinuxfs means.
func hint(m mount, err error) error {
	if m.fstype == "selinuxfs" && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)) {
		return fmt.Errorf("%w: SELinux is not this kernel's security module; boot with security=selinux", err)
	}
	return err
}

// mountRoot mounts the EROFS image read-only. File-backed mounts do not work on
// a tmpfs, so it takes a loop device, which goes away with the mount. Not
// nosuid: that would forbid the transitions into the node's domains.
func mountRoot(image, dir string) error {
	file, err := os.Open(image)
	if err != nil {
		return err
	}
	defer file.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return fmt.Errorf("find a free loop device: %w", err)
	}
	dev := fmt.Sprintf("/dev/loop%d", n)
	// Held open until the mount holds it: autoclear frees an unused device.
	loop, err := os.OpenFile(dev, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer loop.Close()
	config := unix.LoopConfig{
		Fd:   uint32(file.Fd()),
		Size: 4096, // block size, that of EROFS
		Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR},
	}
	if err := unix.IoctlLoopConfigure(int(loop.Fd()), &config); err != nil {
		return fmt.Errorf("attach %s to %s: %w", image, dev, err)
	}
	return mount{dev, dir, "erofs", unix.MS_RDONLY | unix.MS_NODEV}.Create()
}

// switchRoot makes dir the root and takes the pseudo file systems along. The
// initramfs stays mounted below, out of reach: it backs the loop device.
func switchRoot(dir string) error {
	for _, sub := range []string{"/dev", "/proc", "/sys"} { // selinuxfs moves with /sys
		if err := unix.Mount(sub, dir+sub, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s to %s: %w", sub, dir+sub, err)
		}
	}
	if err := unix.Chdir(dir); err != nil {
		return &os.PathError{Op: "chdir", Path: dir, Err: err}
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move %s to /: %w", dir, err)
	}
	if err := unix.Chroot("."); err != nil {
		return &os.PathError{Op: "chroot", Path: dir, Err: err}
	}
	return unix.Chdir("/")
}

// reopenConsole puts console on descriptors 0 to 2: those that the kernel
// opened are the initramfs's node, whose label init may not use. All other
// descriptors are close-on-exec, as Go opens them.
func reopenConsole(console string) error {
	fd, err := unix.Open(console, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: console, Err: err}
	}
	for to := range 3 {
		if err := unix.Dup2(fd, to); err != nil {
			return &os.PathError{Op: "dup", Path: console, Err: err}
		}
	}
	return nil
}
