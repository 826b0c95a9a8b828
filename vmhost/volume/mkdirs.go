package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Mounter mounts a directory of a server and says where. A directory that does
// not exist is an error that wraps fs.ErrNotExist, as MountNFS returns.
type Mounter func(d Directory) (target string, unmount func() error, err error)

// MakeDirs makes d and the missing directories above it, as id, mode 0770: it
// has the deepest one that exists mounted and makes the rest in there. It returns
// the paths that it made, on the server.
//
// The directory that it has mounted may hold other VMs' ones. No VM sees this
// mount, if mount makes it in a mount namespace of the caller's own.
func MakeDirs(d Directory, id Identity, mount Mounter) (made []string, err error) {
	var missing []string // names, the deepest first
	for at := d; ; at.Path = path.Dir(at.Path) {
		target, unmount, err := mount(at)
		if errors.Is(err, fs.ErrNotExist) && at.Path != "/" {
			missing = append(missing, path.Base(at.Path))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("make directory %s: %w", d, err)
		}
		made, err = mkdirs(target, at.Path, missing, id)
		if uerr := unmount(); err == nil {
			err = uerr
		}
		if err != nil {
			return made, fmt.Errorf("make directory %s: %w", d, err)
		}
		return made, nil
	}
}

// mkdirs makes a chain of directories below target, where above is mounted.
func mkdirs(target, above string, names []string, id Identity) (made []string, err error) {
	err = inDir(target, id, func(root int) error {
		at := root
		defer func() {
			if at != root {
				unix.Close(at)
			}
		}()
		for i := len(names) - 1; i >= 0; i-- {
			above = strings.TrimSuffix(above, "/") + "/" + names[i]
			if err := checkName(names[i]); err != nil {
				return err
			}
			// Somebody else may have made it meanwhile.
			if err := unix.Mkdirat(at, names[i], 0o770); err == nil {
				made = append(made, above)
			} else if err != unix.EEXIST {
				return &os.PathError{Op: "mkdir", Path: above, Err: err}
			}
			next, err := unix.Openat2(at, names[i], &unix.OpenHow{
				Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
				Resolve: resolve,
			})
			if err != nil {
				return &os.PathError{Op: "open", Path: above, Err: err}
			}
			if at != root {
				unix.Close(at)
			}
			at = next
		}
		return nil
	})
	return made, err
}
