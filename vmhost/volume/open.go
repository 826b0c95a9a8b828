package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Identity is the user and group that an NFS server sees (AUTH_SYS).
type Identity struct {
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
}

// Files are the open descriptors of one volume, for a QEMU fdset: QEMU takes
// the one whose access mode fits. They are close-on-exec and may block.
type Files struct {
	ReadWrite *os.File // nil when the volume is read-only
	ReadOnly  *os.File
}

// Close closes both.
func (f Files) Close() error {
	var errs []error
	for _, file := range []*os.File{f.ReadWrite, f.ReadOnly} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
}

// Open opens the regular file name in the directory dir, as id: the server
// checks access with whoever opens, and later I/O through the descriptor goes
// with the same identity. It follows no symbolic link and crosses no mount.
func Open(dir, name string, id Identity, readonly bool) (Files, error) {
	return open(dir, name, id, readonly, 0)
}

// Create makes name in dir, empty, mode 0660, and opens it. An existing file is
// an error that wraps fs.ErrExist.
func Create(dir, name string, id Identity) (Files, error) {
	return open(dir, name, id, false, unix.O_CREAT|unix.O_EXCL)
}

// Remove undoes Create.
func Remove(dir, name string, id Identity) error {
	return inDir(dir, id, func(root int) error {
		if err := checkName(name); err != nil {
			return err
		}
		if err := unix.Unlinkat(root, name, 0); err != nil {
			return &os.PathError{Op: "unlink", Path: filepath.Join(dir, name), Err: err}
		}
		return nil
	})
}

func open(dir, name string, id Identity, readonly bool, flags int) (f Files, err error) {
	err = inDir(dir, id, func(root int) error {
		if !readonly {
			if f.ReadWrite, err = openRegular(root, dir, name, unix.O_RDWR|flags); err != nil {
				return err
			}
		}
		if f.ReadOnly, err = openRegular(root, dir, name, unix.O_RDONLY); err != nil {
			return err
		}
		return sameFile(f)
	})
	if err != nil {
		f.Close()
		return Files{}, fmt.Errorf("volume file: %w", err)
	}
	return f, nil
}

// sameFile makes sure that nobody swapped the file between the two opens.
func sameFile(f Files) error {
	if f.ReadWrite == nil {
		return nil
	}
	a, err := f.ReadWrite.Stat()
	if err != nil {
		return err
	}
	b, err := f.ReadOnly.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(a, b) {
		return fmt.Errorf("%s was replaced while it was opened", f.ReadOnly.Name())
	}
	return nil
}

// resolve is how every name below a volume directory is looked up.
const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV

// openRegular opens name in root, which is open on dir. O_NONBLOCK, so that a
// FIFO does not hold the node up; it is taken back before QEMU gets the file.
func openRegular(root int, dir, name string, flags int) (*os.File, error) {
	path := filepath.Join(dir, name)
	if err := checkName(name); err != nil {
		return nil, err
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_LARGEFILE),
		Resolve: resolve,
	}
	if flags&unix.O_CREAT != 0 {
		how.Mode = 0o660
	}
	fd, err := unix.Openat2(root, name, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("is no regular file")
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// checkName holds name to one path element: openat2 would take a/b too.
func checkName(name string) error {
	if strings.Contains(name, "/") {
		return fmt.Errorf("file name %q is more than one path element", name)
	}
	return checkPath("/", name)
}

// inDir opens dir and calls f with it, on a thread that has id as its file
// system identity and no supplementary groups. The thread ends with the call,
// so nothing else can ever run with that identity.
func inDir(dir string, id Identity, f func(root int) error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the runtime ends the thread
		done <- func() error {
			// The mount is opened by whoever made it: id need not get through to it.
			root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				return &os.PathError{Op: "open", Path: dir, Err: err}
			}
			defer unix.Close(root)
			if err := assume(id); err != nil {
				return err
			}
			return f(root)
		}()
	}()
	return <-done
}

// assume gives the calling thread the file system identity id.
func assume(id Identity) error {
	if uint32(unix.Geteuid()) == id.UID && uint32(unix.Getegid()) == id.GID {
		return nil
	}
	// The raw call: Go's Setgroups is for all threads. The server is sent up to
	// 16 groups besides the gid.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("drop groups to open volumes as %d:%d: %w", id.UID, id.GID, errno)
	}
	// These two report no error; asking again for an invalid id tells.
	unix.SetfsgidRetGid(int(id.GID))
	unix.SetfsuidRetUid(int(id.UID))
	gid, _ := unix.SetfsgidRetGid(-1)
	uid, _ := unix.SetfsuidRetUid(-1)
	if uint32(gid) != id.GID || uint32(uid) != id.UID {
		return fmt.Errorf("open volumes as %d:%d: %w", id.UID, id.GID, unix.EPERM)
	}
	return nil
}
