package initramfs

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Resolve follows the symbolic links in name within the directory root, as
// chroot(2) would, and gives the resulting path relative to root. Libraries and
// firmware are found by links; the image gets what is behind them.
func Resolve(root, name string) (string, error) {
	todo := strings.Split(name, "/")
	done, links := "", 0
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			done = strings.TrimPrefix(path.Dir("/"+done), "/")
			continue
		}
		next := path.Join(done, part)
		info, err := os.Lstat(filepath.Join(root, next))
		if err != nil {
			return "", &os.PathError{Op: "find", Path: name, Err: os.ErrNotExist}
		}
		if info.Mode()&os.ModeSymlink == 0 {
			done = next
			continue
		}
		if links++; links > 40 {
			return "", fmt.Errorf("find %s: too many symbolic links", name)
		}
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			done = ""
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return done, nil
}
