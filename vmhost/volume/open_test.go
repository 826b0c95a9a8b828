package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

type unixStat = syscall.Stat_t

var self = Identity{uint32(os.Geteuid()), uint32(os.Getegid())}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "disk"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir, "disk", self, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, tt := range []struct {
		file *os.File
		want int
	}{{f.ReadWrite, unix.O_RDWR}, {f.ReadOnly, unix.O_RDONLY}} {
		flags, err := unix.FcntlInt(tt.file.Fd(), unix.F_GETFL, 0)
		if err != nil || flags&(unix.O_ACCMODE|unix.O_NONBLOCK) != tt.want {
			t.Errorf("flags = %#x, %v; want mode %d, blocking", flags, err, tt.want)
		}
		if fdflags, _ := unix.FcntlInt(tt.file.Fd(), unix.F_GETFD, 0); fdflags&unix.FD_CLOEXEC == 0 {
			t.Error("descriptor is not close-on-exec")
		}
	}
	r, err := Open(dir, "disk", self, true)
	if err != nil || r.ReadWrite != nil || r.ReadOnly == nil {
		t.Errorf("Open(readonly) = %+v, %v; want one descriptor", r, err)
	}
	r.Close()
}

func TestOpenRefuses(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "dir")
	secret := filepath.Join(top, "secret")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "sub"), 0o700),
		os.WriteFile(secret, []byte("secret"), 0o600),
		os.WriteFile(filepath.Join(dir, "sub", "file"), nil, 0o600),
		os.Symlink(secret, filepath.Join(dir, "absolute")),
		os.Symlink("../secret", filepath.Join(dir, "relative")),
		os.Symlink("sub/file", filepath.Join(dir, "inside")),
		unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
		unix.Mknod(filepath.Join(dir, "socket"), unix.S_IFSOCK|0o600, 0),
		os.Symlink(dir, filepath.Join(top, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"absolute", "relative", "inside", "fifo", "socket", "sub", "missing",
		"../secret", "sub/file", "..", ".", "", "/etc/passwd"} {
		for _, readonly := range []bool{false, true} {
			if f, err := Open(dir, name, self, readonly); err == nil {
				t.Errorf("Open(%q, readonly %v) = %+v; want an error", name, readonly, f)
			}
		}
	}
	if _, err := Open(filepath.Join(top, "link"), "missing", self, true); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("Open in a symbolic link = %v; want %v", err, unix.ENOTDIR)
	}
	if _, err := Open(dir, "missing", self, true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open(missing) = %v; want %v", err, fs.ErrNotExist)
	}
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(dir, "disk", self)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := Create(dir, "disk", self); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create twice = %v; want %v", err, fs.ErrExist)
	}
	if err := Remove(dir, "disk", self); err != nil {
		t.Error(err)
	}
	if err := Remove(dir, "disk", self); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove twice = %v; want %v", err, fs.ErrNotExist)
	}
}

// TestIdentity opens as somebody else: the file is theirs, root's own are
// closed to them, and this process is what it was.
func TestIdentity(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may open files as somebody else")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "roots"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	id := Identity{65534, 65533}
	f, err := Create(dir, "disk", id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.ReadWrite.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if sys := st.Sys().(*unixStat); sys.Uid != id.UID || sys.Gid != id.GID {
		t.Errorf("file of %d:%d; want %d:%d", sys.Uid, sys.Gid, id.UID, id.GID)
	}
	if _, err := Open(dir, "roots", id, true); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Open(root's file) = %v; want %v", err, fs.ErrPermission)
	}
	if uid, _ := unix.SetfsuidRetUid(-1); uid != 0 {
		t.Errorf("fsuid afterwards = %d; want 0", uid)
	}
}

func TestIdentityUnprivileged(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may open files as anybody")
	}
	if _, err := Open(t.TempDir(), "x", Identity{self.UID + 1, self.GID}, true); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Open as another user = %v; want %v", err, fs.ErrPermission)
	}
}
