package qemu

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The chamber's skeleton, as on the node itself.
var (
	chamberDirs  = []string{"dev", "media", "volumes"}
	chamberLinks = []struct{ name, target string }{
		{"bin", "usr/bin"}, {"lib", "usr/lib"}, {"lib64", "usr/lib64"},
	}
)

// build makes the chamber's file system and opens what the program gets. It
// gives the numbers of the descriptors that it opened.
func (c *Chamber) build(l labels) (opened []int, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fail("make private", "/", err)
	}
	if err := mountTmpfs(c.Root, c.Context, l, "mode=0755,size=1m"); err != nil {
		return nil, err
	}
	for _, d := range chamberDirs {
		if err := os.Mkdir(filepath.Join(c.Root, d), 0o755); err != nil {
			return nil, fail("make", d, err)
		}
	}
	for _, s := range chamberLinks {
		if err := os.Symlink(s.target, filepath.Join(c.Root, s.name)); err != nil {
			return nil, fail("make", s.name, err)
		}
	}
	for _, b := range c.Binds {
		if err := c.bind(b.Source, b.Target, true); err != nil {
			return nil, err
		}
	}
	for _, d := range c.Devices {
		dev := filepath.Join("/dev", d)
		if err := c.bind(dev, dev, false); err != nil {
			return nil, err
		}
	}
	if c.KVM != 0 {
		// Opened here: the node belongs to root, and only a VM that was given
		// it may have it.
		kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err != nil {
			return nil, fail("open", "/dev/kvm", err)
		}
		if err := place(kvm, c.KVM, &opened); err != nil {
			return nil, err
		}
	}
	if c.NVRAM != nil {
		if err := c.copyNVRAM(l, &opened); err != nil {
			return nil, err
		}
	}
	for i := range c.Volumes {
		if err := c.volume(&c.Volumes[i], &opened); err != nil {
			return nil, err
		}
	}
	return opened, nil
}

// mountTmpfs mounts an empty labelled tmpfs. Devices come in by bind mounts,
// which have flags of their own, so nodev holds for it.
func mountTmpfs(target, context string, l labels, data string) error {
	label, err := l.mountOption(context)
	if err != nil {
		return fail("mount tmpfs on", target, err)
	}
	if label != "" {
		data += "," + label
	}
	if err := unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data); err != nil {
		return fail("mount tmpfs on", target, err)
	}
	return nil
}

// bind makes the place for source in the chamber and mounts it there. It keeps
// the source's flags: /usr must not become nosuid, or the exec label is refused.
func (c *Chamber) bind(source, target string, readonly bool) error {
	at := filepath.Join(c.Root, target)
	fi, err := os.Lstat(source)
	if err != nil {
		return fail("find", source, err)
	}
	if fi.Mode()&os.ModeSymlink != 0 {
		return fail("bind", source, fmt.Errorf("is a symbolic link"))
	}
	if fi.IsDir() {
		err = os.Mkdir(at, 0o755)
	} else {
		var f *os.File
		if f, err = os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		return fail("make", target, err)
	}
	if err := unix.Mount(source, at, "", unix.MS_BIND, ""); err != nil {
		return fail("bind "+source+" on", target, err)
	}
	if readonly {
		return setReadOnly(at)
	}
	return nil
}

func setReadOnly(path string) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(-1, path, 0, &attr); err != nil {
		return fail("make read-only", path, err)
	}
	return nil
}

// copyNVRAM copies the file to a tmpfs whose every file is labelled as the
// VM's, and lets go of that mount: the descriptor is all that is left of it.
func (c *Chamber) copyNVRAM(l labels, opened *[]int) error {
	dir := filepath.Join(c.Root, "nvram")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fail("make", dir, err)
	}
	if err := mountTmpfs(dir, c.NVRAM.Context, l, "mode=0700,size=4m"); err != nil {
		return err
	}
	src, err := os.Open(c.NVRAM.Source)
	if err != nil {
		return fail("open", c.NVRAM.Source, err)
	}
	defer src.Close()
	dst, err := os.OpenFile(filepath.Join(dir, "vars.fd"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fail("make", "copy of "+c.NVRAM.Source, err)
	}
	if _, err := io.Copy(dst, src); err != nil {
		return fail("copy", c.NVRAM.Source, err)
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		return fail("detach", dir, err)
	}
	return place(dst, c.NVRAM.FD, opened)
}

// place gives f the number fd.
func place(f *os.File, fd int, opened *[]int) error {
	defer f.Close()
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		return fail("place", f.Name(), fmt.Errorf("descriptor %d is in use", fd))
	}
	if err := unix.Dup3(int(f.Fd()), fd, unix.O_CLOEXEC); err != nil {
		return fail("place", f.Name(), err)
	}
	*opened = append(*opened, fd)
	return nil
}

// enter makes the chamber the root and leaves the node's network.
func (c *Chamber) enter() error {
	if err := unix.Chdir(c.Root); err != nil {
		return fail("enter", c.Root, err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fail("make root of", c.Root, err)
	}
	// The old root now lies over the new one.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fail("detach", "the node's root", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fail("enter", "/", err)
	}
	if err := setReadOnly("/"); err != nil {
		return err
	}
	// After the NFS mounts, which live in the node's network.
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fail("leave", "the node's network", err)
	}
	return nil
}
