package debian

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
	"syscall"
)

// usrMerge are the links of a merged /usr; packages may still name paths
// through them.
var usrMerge = []string{"bin", "lib", "lib64", "sbin"}

// notUnpacked is what no image and no tool needs; copyright files stay.
var notUnpacked = []string{"usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/", "usr/share/lintian/"}

func skipped(name string) bool {
	for _, prefix := range notUnpacked {
		if strings.HasPrefix(name, prefix) {
			return path.Base(name) != "copyright"
		}
	}
	return false
}

// makeRoot makes an empty tree.
func makeRoot(dir string) (*os.Root, error) {
	root, err := makeEmptyRoot(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range usrMerge {
		if err := errors.Join(root.MkdirAll("usr/"+name, 0o755), root.Symlink("usr/"+name, name)); err != nil {
			root.Close()
			return nil, err
		}
	}
	return root, nil
}

func makeEmptyRoot(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.OpenRoot(dir)
}

// unpack checks a .deb's digest, unpacks it below root and gives the package
// with its files. Owners, times and set-id bits are dropped, devices left out.
func unpack(ctx context.Context, deb string, p Package, root *os.Root) (Package, error) {
	digest, err := FileSHA256(deb)
	if err != nil {
		return p, fmt.Errorf("unpack package %s: %w", p.Name, err)
	}
	if digest != p.SHA256 {
		return p, fmt.Errorf("unpack package %s: the cached file %s has the digest %s, which is not the one that was signed: delete it and build again", p.Name, deb, digest)
	}
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return p, err
	}
	if err := cmd.Start(); err != nil {
		return p, fmt.Errorf("unpack package %s: %w", p.Name, err)
	}
	p.Files, err = untar(stdout, root)
	// Drain it, or dpkg-deb complains about a broken pipe rather than of its own trouble.
	_, _ = io.Copy(io.Discard, stdout)
	if waitErr := cmd.Wait(); err == nil && waitErr != nil {
		err = fmt.Errorf("dpkg-deb: %w: %s", waitErr, bytes.TrimSpace(stderr.Bytes()))
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return p, fmt.Errorf("unpack package %s: %w", p.Name, err)
	}
	return p, nil
}

// untar unpacks below root, which it cannot leave: os.Root refuses.
func untar(r io.Reader, root *os.Root) ([]File, error) {
	var files []File
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean(strings.TrimPrefix(header.Name, "./"))
		if name == "." || skipped(name) {
			continue
		}
		if !fs.ValidPath(name) {
			return nil, fmt.Errorf("refuse the file name %q", header.Name)
		}
		file, err := untarEntry(archive, header, name, root)
		if err != nil {
			return nil, err
		}
		if file != nil {
			files = append(files, *file)
		}
	}
}

// untarEntry gives nil for entries that are no files.
func untarEntry(r io.Reader, header *tar.Header, name string, root *os.Root) (*File, error) {
	if header.Typeflag == tar.TypeDir {
		return nil, root.MkdirAll(name, 0o755)
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return nil, err
	}
	file := &File{Path: name}
	switch header.Typeflag {
	case tar.TypeReg:
		return file, writeFile(r, header.FileInfo().Mode()&0o111 != 0, file, root)
	case tar.TypeSymlink:
		file.Link = header.Linkname
		err := root.Symlink(header.Linkname, name)
		if errors.Is(err, syscall.EEXIST) {
			// Two packages may hold one link, as of the merged /usr.
			if old, _ := root.Readlink(name); old == header.Linkname {
				return nil, nil
			}
		}
		return file, err
	case tar.TypeLink:
		// A second name: unpack it as a copy of its own, so that every path in
		// the tree is one file of one package.
		source, err := root.Open(strings.TrimPrefix(header.Linkname, "./"))
		if err != nil {
			return nil, err
		}
		defer source.Close()
		info, err := source.Stat()
		if err != nil {
			return nil, err
		}
		return file, writeFile(source, info.Mode()&0o111 != 0, file, root)
	}
	return nil, nil
}

func writeFile(r io.Reader, exec bool, file *File, root *os.Root) error {
	mode := fs.FileMode(0o644)
	if exec {
		mode = 0o755
	}
	// O_EXCL: two packages with one file would make the tree depend on the order.
	f, err := root.OpenFile(file.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	h := sha256.New()
	file.Size, err = io.Copy(io.MultiWriter(f, h), r)
	file.SHA256, file.Exec = hex.EncodeToString(h.Sum(nil)), exec
	// The user's umask has no say in what the image is made of.
	return errors.Join(err, f.Chmod(mode), f.Close())
}
