// Package devlabel says which SELinux label a device node in /dev has, and sets
// it. devtmpfs makes nodes without asking userspace: those from before the
// policy was loaded have the plain device type, and so has any later one that
// the policy has no named transition for. A node that is not in the table keeps
// what it has, which no domain but init and the kernel may open.
package devlabel

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"casemate/policy"

	"golang.org/x/sys/unix"
)

const xattr = "security.selinux"

type rule struct {
	kind    fs.FileMode // fs.ModeDevice, with fs.ModeCharDevice for a character device
	pattern string      // path.Match against the name below /dev
	typ     string
}

const (
	char  = fs.ModeDevice | fs.ModeCharDevice
	block = fs.ModeDevice
)

// The first rule that matches holds.
var table = []rule{
	{char, "console", "console_device_t"},
	{char, "tty*", "console_device_t"},
	{char, "null", "null_device_t"},
	{char, "zero", "null_device_t"},
	{char, "full", "null_device_t"},
	{char, "random", "random_device_t"},
	{char, "urandom", "random_device_t"},
	{char, "kmsg", "kmsg_device_t"},
	{char, "mem", "memory_device_t"},
	{char, "port", "memory_device_t"},
	{char, "loop-control", "loop_device_t"},
	{block, "loop*", "loop_device_t"},
	{char, "kvm", "kvm_device_t"},
	{char, "net/tun", "tun_device_t"},
	{char, "vhost-net", "vhost_device_t"},
	{char, "input/event*", "event_device_t"},
	{block, "vd*", "block_device_t"},
	{block, "sd*", "block_device_t"},
	{block, "nvme*", "block_device_t"},
}

// Context gives the context of the device node name (relative to /dev, such as
// "net/tun"), and whether the table has one.
func Context(name string, mode fs.FileMode) (string, bool) {
	for _, r := range table {
		if mode&char != r.kind {
			continue
		}
		if ok, _ := path.Match(r.pattern, name); ok {
			return policy.Object(r.typ, "s0"), true
		}
	}
	return "", false
}

// Node labels the device node name in directory dev if the table has a label
// for it and the node another. A node that is gone meanwhile is no error.
func Node(dev, name string) error {
	file := filepath.Join(dev, name)
	info, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	want, ok := Context(name, info.Mode())
	if !ok {
		return nil
	}
	return Set(file, want)
}

// All labels every device node below dev.
func All(dev string) error {
	var errs []error
	err := filepath.WalkDir(dev, func(file string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // unplugged meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dev, file)
		if err != nil {
			return err
		}
		if err := Node(dev, name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return nil
	})
	return errors.Join(append(errs, err)...)
}

// Set gives file the context, unless it has it already. Symbolic links are not
// followed. It writes the extended attribute itself: stage0 runs before
// anything that caches SELinux's state may.
func Set(file, context string) error {
	if have, err := Get(file); err == nil && have == context {
		return nil
	}
	if err := unix.Lsetxattr(file, xattr, []byte(context), 0); err != nil {
		return &os.PathError{Op: "label as " + context, Path: file, Err: err}
	}
	return nil
}

// Get reads the context of file.
func Get(file string) (string, error) {
	buf := make([]byte, 256)
	n, err := unix.Lgetxattr(file, xattr, buf)
	if err != nil {
		return "", &os.PathError{Op: "read label of", Path: file, Err: err}
	}
	for n > 0 && buf[n-1] == 0 {
		n--
	}
	return string(buf[:n]), nil
}
