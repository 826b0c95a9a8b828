package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"casemate/policy"
)

// Media are the read-only files that the node fetched at boot, which documents
// name local/NAME. While at least one VM uses a file it is labelled so that VMs
// may read it; otherwise none may. The label is read back each time.
type Media struct {
	dir  string
	attr string // security.selinux, but for tests

	mu    sync.Mutex
	users map[string]map[string]bool // file name -> owners
}

// NewMedia serves the files in dir.
func NewMedia(dir string) *Media {
	return &Media{dir: dir, attr: "security.selinux", users: make(map[string]map[string]bool)}
}

// Acquire labels the file name for use by owner and opens it read-only, close
// on exec. The caller closes it. Acquiring twice is acquiring once.
func (m *Media) Acquire(owner, name string) (*os.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	file, err := m.open(name)
	if err != nil {
		return nil, fmt.Errorf("volume local/%s: %w", name, err)
	}
	if err := m.label(file, policy.SvirtContentContext); err != nil {
		if len(m.users[name]) == 0 {
			err = errors.Join(err, m.label(file, policy.VirtContentContext))
		}
		file.Close()
		return nil, fmt.Errorf("volume local/%s: %w", name, err)
	}
	if m.users[name] == nil {
		m.users[name] = make(map[string]bool)
	}
	m.users[name][owner] = true
	return file, nil
}

// Release gives back all files of owner. A file whose last owner this was gets
// its label back; where that fails the file stays unheld, and Sweep tries again.
func (m *Media) Release(owner string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for name, owners := range m.users {
		if !owners[owner] {
			continue
		}
		if delete(owners, owner); len(owners) == 0 {
			delete(m.users, name)
			errs = append(errs, m.restore(name))
		}
	}
	return errors.Join(errs...)
}

// Sweep gives every file that nobody holds its label back. A new manager calls
// it once it has acquired for the VMs that still run.
func (m *Media) Sweep() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	entries, err := os.ReadDir(m.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a node without media
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Type().IsRegular() && len(m.users[e.Name()]) == 0 {
			errs = append(errs, m.restore(e.Name()))
		}
	}
	return errors.Join(errs...)
}

func (m *Media) restore(name string) error {
	file, err := m.open(name)
	if err == nil {
		defer file.Close()
		err = m.label(file, policy.VirtContentContext)
	}
	if err != nil {
		return fmt.Errorf("restore label of local/%s: %w", name, err)
	}
	return nil
}

func (m *Media) open(name string) (*os.File, error) {
	root, err := unix.Open(m.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: m.dir, Err: err}
	}
	defer unix.Close(root)
	return openRegular(root, m.dir, name, unix.O_RDONLY)
}

// label sets the label of an open file and reads it back: whoever may set
// labels can set one that the policy does not know.
func (m *Media) label(file *os.File, context string) error {
	fd, path := int(file.Fd()), filepath.Join(m.dir, filepath.Base(file.Name()))
	if err := unix.Fsetxattr(fd, m.attr, []byte(context), 0); err != nil {
		return &os.PathError{Op: "setxattr " + m.attr + "=" + context, Path: path, Err: err}
	}
	buf := make([]byte, 4096)
	n, err := unix.Fgetxattr(fd, m.attr, buf)
	if err != nil {
		return &os.PathError{Op: "getxattr " + m.attr, Path: path, Err: err}
	}
	if got := strings.TrimRight(string(buf[:n]), "\x00"); got != context {
		return fmt.Errorf("%s is labelled %s, not %s", path, got, context)
	}
	return nil
}
