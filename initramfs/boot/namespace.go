package boot

import (
	"fmt"
	"os"

	"casemate/initramfs/boot/devlabel"

	"golang.org/x/sys/unix"
)

// creator is one element of the node's name space, after u-root's libinit: a
// list of them reads as a specification, and an error prints its own object.
type creator interface {
	Create() error
	fmt.Stringer
}

// create makes them in order, up to the first that fails.
func create(list []creator) error {
	for _, c := range list {
		if err := c.Create(); err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
	}
	return nil
}

// dir is a directory, labelled right after it is made.
type dir struct {
	path    string
	mode    os.FileMode
	gid     int
	context string // empty: what the policy gives it
}

func (d dir) String() string { return fmt.Sprintf("dir %s mode %#o", d.path, d.mode) }

func (d dir) Create() error {
	if err := os.Mkdir(d.path, d.mode); err != nil && !os.IsExist(err) {
		return err
	}
	if d.context != "" {
		if err := devlabel.Set(d.path, d.context); err != nil {
			return err
		}
	}
	if d.gid != 0 {
		if err := os.Chown(d.path, -1, d.gid); err != nil {
			return err
		}
	}
	return os.Chmod(d.path, d.mode) // whatever the umask is
}

// mount is a mounted file system. A context becomes the root directory's label.
type mount struct {
	source, path, fstype string
	flags                uintptr
	data                 string
	context              string
}

func (m mount) String() string { return fmt.Sprintf("mount %s on %s", m.fstype, m.path) }

func (m mount) Create() error {
	data := m.data
	if m.context != "" {
		if data != "" {
			data += ","
		}
		data += "rootcontext=" + m.context
	}
	return unix.Mount(m.source, m.path, m.fstype, m.flags, data)
}

// setting is a file of the kernel's that takes a value.
type setting struct{ path, value string }

func (s setting) String() string { return fmt.Sprintf("write %q to %s", s.value, s.path) }

func (s setting) Create() error {
	f, err := os.OpenFile(s.path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(s.value)
	return err
}
