package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"casemate/policy"
)

// newTestMedia labels with an attribute that any user may set.
func newTestMedia(t *testing.T) (m *Media, label func(name string) string) {
	t.Helper()
	m = NewMedia(t.TempDir())
	m.attr = "user.selinux"
	for _, name := range []string{"a.iso", "b.iso"} {
		path := filepath.Join(m.dir, name)
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		// The kernel's labels end in NUL.
		if err := unix.Lsetxattr(path, m.attr, []byte(policy.VirtContentContext+"\x00"), 0); err != nil {
			t.Skipf("no extended attributes of users in %s: %v", m.dir, err)
		}
	}
	return m, func(name string) string {
		var b [256]byte
		n, err := unix.Lgetxattr(filepath.Join(m.dir, name), m.attr, b[:])
		if err != nil {
			t.Error(err)
		}
		return strings.TrimRight(string(b[:max(n, 0)]), "\x00")
	}
}

func TestMedia(t *testing.T) {
	const idle, used = policy.VirtContentContext, policy.SvirtContentContext
	m, label := newTestMedia(t)
	want := func(when, a, b string) {
		t.Helper()
		if gotA, gotB := label("a.iso"), label("b.iso"); gotA != a || gotB != b {
			t.Errorf("%s: labels %s, %s; want %s, %s", when, gotA, gotB, a, b)
		}
	}
	acquire := func(owner, name string) {
		t.Helper()
		file, err := m.Acquire(owner, name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if b := make([]byte, 5); true {
			if _, err := file.ReadAt(b, 0); err != nil || string(b) != name {
				t.Errorf("Acquire(%s) reads %q, %v", name, b, err)
			}
		}
		if _, err := file.Write([]byte("x")); err == nil {
			t.Errorf("Acquire(%s) can be written", name)
		}
	}
	acquire("VM 1", "a.iso")
	want("VM 1 has a", used, idle)
	acquire("VM 1", "a.iso")
	acquire("VM 2", "a.iso")
	acquire("VM 2", "b.iso")
	want("both", used, used)
	if err := m.Release("VM 1"); err != nil {
		t.Error(err)
	}
	want("VM 1 is gone", used, used)
	if err := m.Sweep(); err != nil {
		t.Error(err)
	}
	want("after Sweep", used, used)
	if err := m.Release("VM 2"); err != nil {
		t.Error(err)
	}
	want("all are gone", idle, idle)

	// A manager that was killed leaves its labels; the next adopts VM 1 only.
	acquire("VM 1", "a.iso")
	acquire("VM 2", "b.iso")
	next := NewMedia(m.dir)
	next.attr, m = m.attr, next
	acquire("VM 1", "a.iso")
	if err := m.Sweep(); err != nil {
		t.Error(err)
	}
	want("next manager", used, idle)
}

func TestMediaRefuses(t *testing.T) {
	m, _ := newTestMedia(t)
	if err := os.Symlink("/etc/passwd", filepath.Join(m.dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"missing", "link", "..", "", "../x", "/etc/passwd"} {
		if file, err := m.Acquire("VM 1", name); err == nil {
			t.Errorf("Acquire(%q) = %s; want an error", name, file.Name())
		}
	}
	if _, err := m.Acquire("VM 1", "missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Acquire(missing) = %v; want %v", err, fs.ErrNotExist)
	}
	if err := NewMedia(filepath.Join(m.dir, "missing")).Sweep(); err != nil {
		t.Errorf("Sweep without media = %v", err)
	}
}

// TestMediaReadBack: a label that cannot be set is an error, and nobody is on
// the books for it.
func TestMediaReadBack(t *testing.T) {
	m, _ := newTestMedia(t)
	m.attr = "nonsense.selinux"
	if _, err := m.Acquire("VM 1", "a.iso"); err == nil {
		t.Error("Acquire without a working label = nil error")
	}
	if len(m.users) != 0 {
		t.Errorf("users after a failure = %v", m.users)
	}
}
