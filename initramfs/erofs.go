package initramfs

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// erofsOptions make the root: zstd at the level beyond which more time buys
// nothing, in clusters of 64 KiB, with no time or random number in it. The
// number of workers is not among them, as the image does not depend on it.
var erofsOptions = []string{
	"--quiet", "-zzstd,level=9", "-C65536", "-T0", "--all-root",
	"-U00000000-0000-4000-8000-636173656d61", "--tar=f",
}

//go:embed erofs.go entry.go
var packing embed.FS

// EROFSFormat stands for how WriteEROFS and AddEROFS pack, for use in a Key:
// what mkfs.erofs is told, and the code that feeds it.
var EROFSFormat = func() string {
	h := sha256.New()
	for _, name := range []string{"erofs.go", "entry.go"} {
		b, err := packing.ReadFile(name)
		if err != nil {
			panic(err) // it is embedded
		}
		h.Write(b)
	}
	return strings.Join(erofsOptions, " ") + " " + hex.EncodeToString(h.Sum(nil))
}()

// Mkfs gives the command that runs mkfs.erofs (erofs-utils 1.8) with args.
type Mkfs func(ctx context.Context, args ...string) *exec.Cmd

// WriteEROFS packs labelled entries, parents first, into a new image. Size and
// SHA256 of the entries are set. progress is told how many entries mkfs.erofs
// has taken.
//
// The entries reach mkfs.erofs as a tar stream that carries owners, modes and
// labels: no directory of the host, with its umask and user, has a say.
func WriteEROFS(ctx context.Context, mkfs Mkfs, image string, entries []Entry, progress func(done int)) error {
	return runMkfs(ctx, mkfs, image, entries, progress)
}

// AddEROFS adds labelled entries to an image that WriteEROFS wrote, which costs
// no more than they do. All directories above them have to be among them:
// mkfs.erofs resets mode and label of a directory that it has to guess.
func AddEROFS(ctx context.Context, mkfs Mkfs, image string, entries []Entry) error {
	return runMkfs(ctx, mkfs, image, entries, func(int) {}, "--incremental=data")
}

func runMkfs(ctx context.Context, mkfs Mkfs, image string, entries []Entry, progress func(done int), options ...string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	args := append(slices.Concat(erofsOptions, options), fmt.Sprintf("--workers=%d", runtime.NumCPU()), image)
	cmd := mkfs(ctx, args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start mkfs.erofs: %w", err)
	}
	tarErr := writeTar(stdin, entries, progress)
	if tarErr != nil {
		cancel(tarErr) // a cut stream could pass for a short one
	}
	closeErr := stdin.Close()
	if err := cmd.Wait(); err != nil {
		if space := spaceError(output.String(), image); space != nil {
			return fmt.Errorf("pack the root with mkfs.erofs: %w", space)
		}
		return fmt.Errorf("pack the root with mkfs.erofs: %w: %s", errors.Join(err, tarErr), strings.TrimSpace(output.String()))
	}
	return errors.Join(tarErr, closeErr)
}

// spaceError tells a full disk from other failures, which mkfs.erofs itself may
// not: what it could not write it finds to be damaged later.
func spaceError(output, image string) error {
	var st syscall.Statfs_t
	if syscall.Statfs(filepath.Dir(image), &st) == nil && int64(st.Bavail)*st.Bsize < 1<<20 {
		return syscall.ENOSPC
	}
	if strings.Contains(output, "No space left") {
		return syscall.ENOSPC
	}
	return nil
}

// writeTar writes PAX records, for the labels.
func writeTar(w io.Writer, entries []Entry, progress func(done int)) error {
	archive := tar.NewWriter(w)
	for i := range entries {
		e := &entries[i]
		header := &tar.Header{
			Format:     tar.FormatPAX,
			Name:       "." + e.Path,
			Mode:       int64(e.Mode.Perm()),
			PAXRecords: map[string]string{"SCHILY.xattr.security.selinux": e.Label},
		}
		var data []byte
		switch e.Mode.Type() {
		case 0:
			var err error
			if data, err = e.content(); err != nil {
				return err
			}
			header.Typeflag, header.Size = tar.TypeReg, int64(len(data))
		case fs.ModeDir:
			header.Typeflag = tar.TypeDir
		case fs.ModeSymlink:
			header.Typeflag, header.Linkname = tar.TypeSymlink, e.Link
		default:
			return fmt.Errorf("pack %s: %v is no type for the root", e.Path, e.Mode.Type())
		}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("pack %s: %w", e.Path, err)
		}
		if _, err := archive.Write(data); err != nil {
			return fmt.Errorf("pack %s: %w", e.Path, err)
		}
		progress(i + 1)
	}
	return archive.Close()
}
