// Package initramfs makes what the node boots from: it finds what the node's
// programs and kernel modules need (ELF and module closures), packs it into a
// labelled EROFS root, and that with stage0, the policy and the first modules
// into an initramfs. It knows files, not packages, and decides nothing: which
// programs and modules there are is the caller's word.
package initramfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"
)

// Entry is one object of an image. Owner is root and the time is 0 everywhere.
type Entry struct {
	// Path is absolute in the image.
	Path string
	// Mode has the type: a regular file, a directory, a symbolic link or a
	// character device, and the permissions.
	Mode fs.FileMode
	// Link is the target of a symbolic link.
	Link string
	// Major and Minor number a character device.
	Major, Minor uint64

	// A regular file's content is Data, or what is in the file Source, through
	// xz if XZ is set.
	Source string
	XZ     bool
	Data   []byte
	// Digest identifies the content before packing: the SHA-256 in hex of
	// Source, or empty if it is not known yet.
	Digest string

	// Origin says where it is from: a package's name, or "casemate".
	Origin string

	// Size in bytes, SHA256 in hex, of a regular file, and Label are known once
	// the entry was packed.
	Size   int64
	SHA256 string
	Label  string
}

// Origin of what no package has.
const Own = "casemate"

// Tree is a set of entries by path, with all parent directories.
type Tree struct {
	entries map[string]Entry
}

// NewTree makes a tree that holds the root directory only.
func NewTree() *Tree {
	t := &Tree{entries: map[string]Entry{}}
	t.Dir("/", 0o755)
	return t
}

// Add adds an entry and the directories above it. The same path twice is an
// error, except that a directory may be added again.
func (t *Tree) Add(e Entry) error {
	if !path.IsAbs(e.Path) || path.Clean(e.Path) != e.Path {
		return fmt.Errorf("add %q to the image: not a clean absolute path", e.Path)
	}
	if e.Origin == "" {
		e.Origin = Own
	}
	if old, ok := t.entries[e.Path]; ok && !(old.Mode.IsDir() && e.Mode.IsDir()) {
		return fmt.Errorf("add %s from %s to the image: it is already there, from %s", e.Path, e.Origin, old.Origin)
	}
	for dir := path.Dir(e.Path); dir != e.Path; dir = path.Dir(dir) {
		parent, ok := t.entries[dir]
		if ok && !parent.Mode.IsDir() {
			return fmt.Errorf("add %s to the image: %s is not a directory", e.Path, dir)
		}
		if !ok {
			t.Dir(dir, 0o755)
		}
		if dir == "/" {
			break
		}
	}
	t.entries[e.Path] = e
	return nil
}

// Dir adds an empty directory, or changes the mode of one.
func (t *Tree) Dir(name string, perm fs.FileMode) {
	t.entries[name] = Entry{Path: name, Mode: fs.ModeDir | perm, Origin: Own}
}

// Entries gives all entries sorted by path, so that a directory comes before
// what is in it.
func (t *Tree) Entries() []Entry {
	var list []Entry
	for _, e := range t.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// Key is a digest of everything that decides what packing the entries gives,
// and of extra, without reading files whose digest is known.
func Key(entries []Entry, extra ...string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", extra)
	for _, e := range entries {
		digest := e.Digest
		if digest == "" && e.Mode.IsRegular() {
			sum := sha256.New()
			if err := e.copyRaw(sum); err != nil {
				return "", err
			}
			digest = hex.EncodeToString(sum.Sum(nil))
		}
		fmt.Fprintf(h, "%q %v %q %d %d %s %v %s %q\n", e.Path, e.Mode, e.Link, e.Major, e.Minor, digest, e.XZ, e.Origin, e.Label)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (e Entry) copyRaw(w io.Writer) error {
	if e.Source == "" {
		_, err := w.Write(e.Data)
		return err
	}
	f, err := os.Open(e.Source)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// content reads a regular file's content as it will be in the image, checks it
// against Digest, and sets Size and SHA256.
func (e *Entry) content() ([]byte, error) {
	var raw bytes.Buffer
	if err := e.copyRaw(&raw); err != nil {
		return nil, err
	}
	data := raw.Bytes()
	if sum := sha256.Sum256(data); e.Digest != "" && e.Digest != hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("read %s: the file has changed since it was unpacked: delete its tree and build again", e.Source)
	}
	if e.XZ {
		r, err := xz.NewReader(&raw)
		if err == nil {
			data, err = io.ReadAll(r)
		}
		if err != nil {
			return nil, fmt.Errorf("decompress %s: %w", e.Source, err)
		}
	}
	sum := sha256.Sum256(data)
	e.Size, e.SHA256 = int64(len(data)), hex.EncodeToString(sum[:])
	return data, nil
}
