package qemu

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"casemate/vmhost/spec"
	"casemate/vmhost/volume"
)

// mountTimeout bounds the question whether a server is there at all.
const mountTimeout = 15 * time.Second

// volume mounts v, in the host's network namespace still, and opens its files.
func (c *Chamber) volume(v *Volume, opened *[]int) error {
	if v.MakeDirs {
		if _, err := volume.MakeDirs(v.Directory, c.OpenAs, c.mounter(v.Context)); err != nil {
			return fail(OpMakeDirs, v.Directory.String(), err)
		}
	}
	at := filepath.Join(c.Root, v.Target)
	if err := os.Mkdir(at, 0o755); err != nil {
		return fail("make", v.Target, err)
	}
	if err := mountNFS(v.Directory, at, v.Context, v.ReadOnly); err != nil {
		return fail(OpMountVolume, v.Directory.String(), err)
	}
	if v.Remove != "" {
		if err := volume.Remove(at, v.Remove, c.OpenAs); err != nil {
			return fail("remove volume", v.Remove, err)
		}
	}
	if v.Create != "" {
		files, err := volume.Create(at, v.Create, c.OpenAs)
		if err != nil {
			return fail(OpCreateVolume, v.Create, err)
		}
		files.Close()
		c.created = true
	}
	for _, f := range v.Files {
		if err := c.openFile(at, f, opened); err != nil {
			return fail(OpOpenVolume, filepath.Join(v.Directory.String(), f.Name), err)
		}
	}
	return nil
}

func mountNFS(d volume.Directory, target, label string, readonly bool) error {
	if err := awaitNFS(spec.VolumesLock); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), mountTimeout)
	defer cancel()
	return volume.MountNFS(ctx, d, target, label, readonly)
}

// awaitNFS waits for init to have NFS loaded; the manager's deadline bounds it.
func awaitNFS(lock string) error {
	f, err := os.Open(lock)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not on a node: the mount will tell
	}
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != unix.EINTR {
			return os.NewSyscallError("flock "+lock, err)
		}
	}
}

// mounter gives MakeDirs directories of the chamber to mount on.
func (c *Chamber) mounter(label string) volume.Mounter {
	n := 0
	return func(d volume.Directory) (string, func() error, error) {
		at := filepath.Join(c.Root, "volumes", "make"+strconv.Itoa(n))
		n++
		if err := os.Mkdir(at, 0o755); err != nil {
			return "", nil, err
		}
		if err := mountNFS(d, at, label, false); err != nil {
			return "", nil, err
		}
		return at, func() error { return unix.Unmount(at, unix.MNT_DETACH) }, nil
	}
}

func (c *Chamber) openFile(dir string, f VolumeFile, opened *[]int) error {
	files, err := volume.Open(dir, f.Name, c.OpenAs, f.RW == 0)
	if err != nil {
		return err
	}
	defer files.Close()
	if f.Format == spec.FormatQcow2 {
		if err := checkQcow2(files.ReadOnly); err != nil {
			return err
		}
	}
	if f.RW != 0 {
		// QEMU opens a writable disk with cache.direct, and takes only a
		// descriptor that has the flag already.
		for _, file := range []*os.File{files.ReadWrite, files.ReadOnly} {
			if err := setDirect(file); err != nil {
				return err
			}
		}
		if err := place(files.ReadWrite, f.RW, opened); err != nil {
			return err
		}
	}
	return place(files.ReadOnly, f.RO, opened)
}

func setDirect(f *os.File) error {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, flags|unix.O_DIRECT)
	}
	if err != nil {
		return fmt.Errorf("set O_DIRECT: %w", err)
	}
	return nil
}

// checkQcow2 reads the header (docs/interop/qcow2.rst in QEMU): magic, version,
// offset of the backing file's name, incompatible features. A volume over a backing file would silently show zeros, because
// QEMU is told not to open any.
func checkQcow2(f io.ReaderAt) error {
	var header [80]byte // version 3 has its incompatible features at 72
	if _, err := f.ReadAt(header[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(header[:4], []byte("QFI\xfb")) {
		return fmt.Errorf("not a qcow2 file: set the disk's format to raw, or convert the file")
	}
	if binary.BigEndian.Uint64(header[8:]) != 0 {
		return fmt.Errorf("has a backing file, which is not supported: flatten it with qemu-img convert")
	}
	// Its name is in the file too, and QEMU would open that.
	const externalData = 1 << 2
	if binary.BigEndian.Uint32(header[4:]) >= 3 && binary.BigEndian.Uint64(header[72:])&externalData != 0 {
		return fmt.Errorf("has an external data file, which is not supported: flatten it with qemu-img convert")
	}
	return nil
}
